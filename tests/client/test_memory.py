"""Learning with a memory: what is kept is what Flower holds, and never above the cap."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, RecordDict

from phloem.client.memory import NO_MEMORY, Memory, notice, pace
from phloem.client.plain import from_plain, to_plain
from phloem.client.records import read_state, write_state
from phloem.client.replay import buffer_of
from phloem.client.round import Device, train_round
from phloem.client.state import ClientState
from phloem.client.stream import Stream
from phloem.compression.codec import codec
from phloem.compression.frame import pack_chain
from phloem.config import ClientConfig, DataConfig, ModelConfig
from phloem.errors import ConfigError
from phloem.learning import Scores, open_learner
from phloem.measures.histogram import unpack_counts
from phloem.protocol import Instruction, Reply, model_hash
from phloem.sources import Samples, open_federation

FEDERATION = open_federation(DataConfig(clients=5), 1)
LEARNER = open_learner(ModelConfig(hidden=(16,)), FEDERATION.input_shape, FEDERATION.classes)
BASE = LEARNER.initial(0)
CHAIN = pack_chain([codec("dense").encode(BASE)[0]])
UPLINK = "ef | topk:0.05 | linear:4"
CAPS = [18_000, 20_000, 24_000]
EVERYTHING: dict[str, Any] = {
    "replay": "der",
    "replay_inputs": "pixels",
    "detector": "page_hinkley",
    "retain": "ewc",
}


def device(stream: Stream | None = None, **settings: Any) -> Device:
    return Device(
        client="2",
        stream=stream or Stream(FEDERATION.shares[2]),
        learner=LEARNER,
        config=ClientConfig(**{"samples_per_round": 16, "epochs": 1, **settings}),
        steps=codec("dense"),
        full=codec("dense"),
        first=lambda: BASE,
    )


def instruction(round_number: int, acked_seq: int) -> Instruction:
    return Instruction(round_number, 0, model_hash(BASE), acked_seq, UPLINK, 1)


def rounds(chosen: Device, count: int) -> list[tuple[Reply, bytes, ClientState]]:
    """Some rounds, each applied, with the state through Flower's records in between."""
    state, done = ClientState(), []
    for number in range(1, count + 1):
        reply, blob, state = train_round(chosen, instruction(number, state.seq), CHAIN, state)
        done.append((reply, blob, state))
        records = RecordDict()
        write_state(records, state)
        state = read_state(records)
    return done


def bytes_in(records: RecordDict) -> int:
    """Count what is in a Context, as Flower does: names, arrays as they are stored, eight bytes a number."""
    total = 0
    for name, record in records.items():
        total += len(name)
        if isinstance(record, ArrayRecord):
            total += record.count_bytes()
        if isinstance(record, ConfigRecord):
            for key, value in record.items():
                long = isinstance(value, str | bytes)
                total += len(key) + (len(value) if isinstance(value, str | bytes) and long else 8)
    return total


@pytest.mark.parametrize("cap", CAPS)
def test_the_cap_is_never_exceeded_by_what_flower_holds(cap: int) -> None:
    """Protects a device's memory: buffer, logits, residual, Fisher, errors, model and frame, all counted."""
    held = []
    for reply, _, state in rounds(device(**EVERYTHING, replay_samples=0, memory_bytes=cap), 12):
        records = RecordDict()
        write_state(records, state)
        assert bytes_in(records) == reply.memory_bytes == to_plain(state).size_bytes <= cap
        assert state.memory.buffer is not None
        assert state.memory.fisher is not None
        held.append(len(state.memory.buffer))
    assert held[-1] >= (cap - 17_500) // 110, "and it is used, too"


def test_a_cap_below_the_rest_is_an_error_that_says_what_is_kept() -> None:
    """Protects against a buffer that silently is none: the model and residual alone have a size."""
    with pytest.raises(ConfigError, match=r"memory_bytes.*phloem\.model \d+, phloem\.residual \d+"):
        rounds(device(replay="reservoir", memory_bytes=5_000), 1)
    without = rounds(device(replay="reservoir", replay_samples=0), 1)[0][2]
    bare = to_plain(replace(without, memory=NO_MEMORY)).size_bytes
    [(reply, _, state)] = rounds(device(replay="reservoir", memory_bytes=bare + 200), 1)
    assert state.memory.buffer is None, "not an array's header fits"
    assert reply.memory_bytes <= bare + 200


def test_samples_whose_labels_are_awaited_count_too() -> None:
    """Protects the cap of a device with late labels: it has to keep those samples somewhere."""
    late = device(Stream(FEDERATION.shares[2], delay=20), replay="reservoir")
    prompt = device(replay="reservoir")
    _, (reply, _, state) = rounds(late, 2)
    assert reply.memory_bytes == to_plain(state).size_bytes + 20 * 64 * 4
    assert rounds(prompt, 2)[1][0].memory_bytes == to_plain(rounds(prompt, 2)[1][2]).size_bytes


def test_rounds_with_a_memory_are_repeatable_and_survive_the_context() -> None:
    """Protects exactly-once: the same instruction gives the same bytes, through Flower and back."""
    chosen = device(**EVERYTHING, memory_bytes=20_000)
    first, second = rounds(chosen, 5), rounds(chosen, 5)
    assert [blob for _, blob, _ in first] == [blob for _, blob, _ in second]
    reply, blob, state = first[-1]
    assert train_round(chosen, instruction(5, first[-2][2].seq), CHAIN, state) == (reply, blob, state)
    records = RecordDict()
    write_state(records, state)
    again = read_state(records)
    assert (again.memory.errors, again.memory.hasty) == (state.memory.errors, state.memory.hasty)
    assert again.memory.buffer is not None
    assert state.memory.buffer is not None
    assert again.memory.buffer.ceiling == state.memory.buffer.ceiling
    for name in ("x", "y", "place", "logits"):
        here, there = getattr(state.memory.buffer, name), getattr(again.memory.buffer, name)
        assert here.dtype == there.dtype
        np.testing.assert_array_equal(here, there)


def test_without_a_memory_nothing_is_kept_and_nothing_told() -> None:
    """Protects the plain client: not a byte more in its state, nor in its replies."""
    for reply, _, state in rounds(device(), 2):
        assert (
            state.memory is NO_MEMORY
            or to_plain(state).size_bytes == to_plain(replace(state, memory=NO_MEMORY)).size_bytes
        )
        assert (reply.memory_bytes, reply.alarms, reply.predicted_counts) == (0, 0, b"")


def test_what_is_replayed_is_remembered_longer() -> None:
    """Protects what all of it is for: an old class is still known after many samples of a new one."""
    share = FEDERATION.shares[2]
    early, late = (share.take(np.flatnonzero(np.isin(share.y, few))) for few in ((0, 1, 2, 3, 4), (7, 8, 9)))
    both = Samples(np.concatenate([early.x, late.x]), np.concatenate([early.y, late.y]))
    kept = {}
    for replay in ("none", "reservoir", "der"):
        weights, state = BASE, ClientState()
        chosen = device(Stream(both, "idle"), replay=replay, epochs=4)
        for number in range(1, len(both) // 16 + 1):
            chain = pack_chain([codec("dense").encode(weights)[0]])
            asked = replace(instruction(number, state.seq), model_hash=model_hash(weights), codec="dense")
            _, blob, state = train_round(chosen, asked, chain, replace(state, held=-1))
            step = codec("dense").decode(blob, LEARNER.schema)
            weights = {name: weights[name] + step[name] for name in weights}
        kept[replay] = LEARNER.score(weights, early).accuracy
    assert kept["none"] + 0.2 < min(kept["reservoir"], kept["der"])


def test_an_alarm_empties_the_buffer_and_hastens_learning_for_some_rounds() -> None:
    """Protects the reaction: samples from before the change go, the rate rises and comes back."""
    old = buffer_of(FEDERATION.shares[2].take(slice(0, 40)), 0, "pixels")
    memory = Memory(buffer=old, errors=bytes(40))
    config = ClientConfig(detector="hddm_w", drift_rounds=2, drift_rate=3.0)
    bad = Scores(1.0, 0, 60, predicted=np.zeros(60, np.int64), errors=np.ones(60, np.float32))
    after, alarms = notice(memory, bad, 100, config)
    assert alarms >= 1
    assert after.buffer is not None
    assert len(after.buffer) == 0
    assert pace(after, config).learning_rate == pytest.approx(3 * config.learning_rate)
    only_rate = config.model_copy(update={"on_drift": ("rate",)})
    kept, _ = notice(memory, bad, 100, only_rate)
    assert kept.buffer is old
    only_told, told = notice(memory, bad, 100, config.model_copy(update={"on_drift": ()}))
    assert (only_told.hasty, only_told.buffer, told) == (0, old, alarms)
    assert pace(only_told, config) is config


def test_alarms_are_told_and_the_rate_falls_back() -> None:
    """Protects the server's view, and the settings: a raised rate lasts as many rounds as configured."""
    share = FEDERATION.shares[2]
    swapped = Samples(share.x, (share.y + 3) % 10)
    order = np.tile(np.arange(len(share)), 6)
    both = Samples(
        np.concatenate([share.x[order], share.x[order]]), np.concatenate([share.y[order], swapped.y[order]])
    )
    chosen = device(Stream(both, "idle"), detector="page_hinkley", drift_rounds=2, epochs=4)
    weights, state, hasty = BASE, ClientState(), []
    told = 0
    for number in range(1, 2 * len(order) // 16):
        chain = pack_chain([codec("dense").encode(weights)[0]])
        asked = replace(instruction(number, state.seq), model_hash=model_hash(weights), codec="dense")
        reply, blob, state = train_round(chosen, asked, chain, replace(state, held=-1))
        step = codec("dense").decode(blob, LEARNER.schema)
        weights = {name: weights[name] + step[name] for name in weights}
        told += reply.alarms
        hasty.append(state.memory.hasty)
        if reply.alarms:
            assert state.position > len(order), "not before the labels changed"
    assert told == 1
    assert [count for count in hasty if count] == [1], "two rounds: the alarm's own, and one more"


def test_late_labels_are_learned_late_and_predictions_told() -> None:
    """Protects prequential order: with a delay of a round nothing is learned in the first, all is scored."""
    late = device(Stream(FEDERATION.shares[2], delay=16), report_predictions=True, samples_per_round=16)
    (first, _, state), (second, _, after) = rounds(late, 2)
    assert state.codec.residual is not None
    assert all(not tensor.any() for tensor in state.codec.residual.values())
    assert after.codec.residual is not None
    assert any(tensor.any() for tensor in after.codec.residual.values())
    for reply, start in ((first, 0), (second, 16)):
        seen = FEDERATION.shares[2].take(slice(start, start + 16))
        expected = LEARNER.score(BASE, seen)
        assert expected.predicted is not None
        assert (reply.samples, reply.correct) == (16, expected.correct)
        np.testing.assert_array_equal(
            np.frombuffer(reply.class_counts, "<u4"), np.bincount(seen.y, minlength=10)
        )
        np.testing.assert_array_equal(
            np.frombuffer(reply.predicted_counts, "<u4"), np.bincount(expected.predicted, minlength=10)
        )


def test_anomalies_are_scored_and_not_learned() -> None:
    """Protects the detector of anomalies: it learns what is normal, and tells the spread of its scores."""
    rng = np.random.default_rng(1)
    normal = rng.normal(size=(96, 1)) * np.ones((96, 6)) + 0.1 * rng.normal(size=(96, 6))
    x = np.concatenate([normal, 3 * rng.normal(size=(32, 6))]).astype(np.float32)
    y = np.repeat([0, 1], [96, 32]).astype(np.int64)
    order = rng.permutation(128)
    mixed = Samples(x[order], y[order])
    learner = open_learner(ModelConfig(name="autoencoder", hidden=(4, 1)), (6,), 2)
    base = learner.initial(1)
    chosen = replace(
        device(Stream(mixed), normal_only=True, samples_per_round=128, detector="adwin"),
        learner=learner,
        first=lambda: base,
    )
    asked = replace(instruction(1, 0), model_hash=model_hash(base), codec="dense")
    chain = pack_chain([codec("dense").encode(base)[0]])
    reply, blob, state = train_round(chosen, asked, chain, ClientState())
    assert unpack_counts(reply.score_histogram).sum(1).tolist() == [96, 32]
    assert (reply.correct, len(state.memory.errors)) == (0, 128)
    missed = learner.score(base, mixed.take(np.flatnonzero(mixed.y == 0))).squares
    assert missed is not None
    assert state.memory.spread is not None
    usual = missed.mean(axis=0)  # of normal samples alone
    np.testing.assert_allclose(state.memory.spread, usual, rtol=1e-5)
    np.testing.assert_array_equal(from_plain(to_plain(state)).memory.spread, state.memory.spread)
    step = codec("dense").decode(blob, learner.schema)
    alone = learner.learn(base, mixed.take(np.flatnonzero(mixed.y == 0)), chosen.config, seed=0)
    trained = {name: base[name] + step[name] for name in base}
    assert learner.score(trained, mixed).loss == pytest.approx(learner.score(alone, mixed).loss, rel=0.2)
    with pytest.raises(ConfigError, match="Only a model that tells classes apart has logits"):
        learner.logits(base, x)
