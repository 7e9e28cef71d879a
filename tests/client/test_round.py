"""A client's round: pure, repeatable, and nothing that was learned is ever lost or counted twice."""

from dataclasses import replace

import numpy as np
import pytest

from phloem.client.round import Device, train_round
from phloem.client.state import ClientState
from phloem.client.stream import Stream
from phloem.compression.codec import codec
from phloem.compression.frame import pack_chain
from phloem.compression.update import Update, add, norm, subtract, zeros
from phloem.config import ClientConfig, DataConfig, ModelConfig
from phloem.errors import ProtocolError
from phloem.learning import open_learner
from phloem.protocol import Instruction, model_hash
from phloem.seeds import derive
from phloem.sources import open_federation

CODEC = "ef | topk:0.05 | linear:4"
FEDERATION = open_federation(DataConfig(clients=5), 1)
LEARNER = open_learner(ModelConfig(hidden=(16,)), FEDERATION.input_shape, FEDERATION.classes)
BASE = LEARNER.initial(0)
DEVICE = Device(
    client="2",
    stream=Stream(FEDERATION.shares[2]),
    learner=LEARNER,
    config=ClientConfig(samples_per_round=16, epochs=1),
    steps=codec("dense"),
    full=codec("dense"),
    first=lambda: BASE,
)
CHAIN = pack_chain([codec("dense").encode(BASE)[0]])


def instruction(round_number: int, acked_seq: int, text: str = CODEC) -> Instruction:
    return Instruction(round_number, 0, model_hash(BASE), acked_seq, text, 1)


def test_the_inputs_stay_and_the_same_inputs_give_the_same_bytes() -> None:
    """A round is a function: run it again from the same state and get the same bits."""
    first = train_round(DEVICE, instruction(1, 0), CHAIN, ClientState())
    again = train_round(DEVICE, instruction(1, 0), CHAIN, ClientState())
    assert first[1] == again[1]
    assert first[2].position == again[2].position == 16


def test_the_same_instruction_again_gets_the_same_reply_without_training() -> None:
    """A server that lost a reply may ask again: nothing is learned twice."""
    reply, blob, state = train_round(DEVICE, instruction(1, 0), CHAIN, ClientState())
    repeated = train_round(DEVICE, instruction(1, 0), CHAIN, state)
    assert repeated == (reply, blob, state)


@pytest.mark.parametrize(
    "text", [CODEC, "ef | topk:0.05,by=importance | linear:4", "ef | channels:0.3,by=information"]
)
@pytest.mark.parametrize("lost_rounds", [(), (1,), (2, 3), (1, 2, 3, 4, 5, 6)])
def test_applied_plus_residual_is_what_was_learned(lost_rounds: tuple[int, ...], text: str) -> None:
    """Sum applied + sum residual = sum learned, whichever replies the server never applied."""
    state, acked = ClientState(), 0
    applied: Update = zeros(LEARNER.schema)
    learned: Update = zeros(LEARNER.schema)
    for round_number in range(1, 7):
        reply, blob, state = train_round(DEVICE, instruction(round_number, acked, text), CHAIN, state)
        samples, _ = DEVICE.stream.next(state.position - 16, 16)
        assert state.model is not None
        trained = LEARNER.learn(state.model, samples, DEVICE.config, seed=derive(1, "2", round_number))
        learned = add(learned, subtract(trained, state.model))
        if round_number not in lost_rounds:
            applied, acked = add(applied, codec(text).decode(blob, LEARNER.schema)), reply.seq
    _, last_blob, last = train_round(DEVICE, instruction(7, acked, text), CHAIN, state)
    samples, _ = DEVICE.stream.next(state.position, 16)
    assert last.model is not None
    assert last.codec.residual is not None
    learned = add(
        learned,
        subtract(LEARNER.learn(last.model, samples, DEVICE.config, seed=derive(1, "2", 7)), last.model),
    )
    held = add(last.codec.residual, codec(text).decode(last_blob, LEARNER.schema))
    assert norm(subtract(add(applied, held), learned)) <= 1e-6 * norm(learned)


@pytest.mark.parametrize(
    ("stage", "by"),
    [("topk:0.1", "importance"), ("channels:0.3", "importance"), ("channels:0.3", "information")],
)
def test_a_codec_that_asks_what_matters_is_told(stage: str, by: str) -> None:
    """Not the largest values travel, but those of the update, debts included, that would be missed."""
    plain, ranked = f"ef | {stage}", f"ef | {stage},by={by}"
    state = train_round(DEVICE, instruction(1, 0, plain), CHAIN, ClientState())[2]
    sent = {
        text: codec(text).decode(
            train_round(DEVICE, instruction(2, 1, text), CHAIN, state)[1], LEARNER.schema
        )
        for text in (plain, ranked)
    }
    assert any((sent[plain][name] != 0).tolist() != (sent[ranked][name] != 0).tolist() for name in BASE)
    samples, _ = DEVICE.stream.next(16, 16)
    weights = LEARNER.learn(BASE, samples, DEVICE.config, seed=derive(1, "2", 2))
    assert state.codec.residual is not None
    owed = add(subtract(weights, BASE), state.codec.residual)
    matter = LEARNER.importance(weights, samples, owed, by)
    expected = codec(ranked.removeprefix("ef | ")).encode(owed, importance=matter)[0]
    decoded = codec(ranked.removeprefix("ef | ")).decode(expected, LEARNER.schema)
    assert norm(subtract(sent[ranked], decoded)) <= 1e-6 * norm(owed)


def test_what_matters_is_not_measured_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    """It costs a pass over the samples, so a codec that ranks by magnitude does not pay for it."""

    def never(*arguments: object) -> Update:
        raise AssertionError("nobody asked")

    monkeypatch.setattr(LEARNER, "importance", never)
    train_round(DEVICE, instruction(1, 0), CHAIN, ClientState())
    with pytest.raises(AssertionError, match="nobody asked"):
        train_round(DEVICE, instruction(1, 0, "topk:0.1,by=importance"), CHAIN, ClientState())


def test_a_client_that_lost_its_memory_counts_on_from_the_server() -> None:
    """Sequence numbers never go back, or the server would take new updates for old ones."""
    reply, _, _ = train_round(DEVICE, instruction(9, 8), CHAIN, ClientState())
    assert reply.seq == 9


def test_a_dry_stream_answers_with_nothing_and_keeps_its_residual() -> None:
    """An idle client is not an error and loses nothing."""
    device = replace(DEVICE, stream=Stream(FEDERATION.shares[2].take(slice(0, 16)), "idle"))
    _, _, state = train_round(device, instruction(1, 0), CHAIN, ClientState())
    reply, blob, idle = train_round(device, instruction(2, 1), CHAIN, state)
    assert (reply.samples, blob, idle.seq) == (0, b"", state.seq)
    assert idle.codec.residual is not None
    np.testing.assert_equal(dict(idle.codec.residual), dict(state.codec.residual or {}))


def test_a_chain_that_leads_elsewhere_is_refused() -> None:
    """A client never trains on a model other than the one the server named."""
    with pytest.raises(ProtocolError, match="in full"):
        train_round(DEVICE, replace(instruction(1, 0), version=3), CHAIN, ClientState())
    with pytest.raises(ProtocolError, match="hash"):
        train_round(DEVICE, replace(instruction(1, 0), model_hash=bytes(16)), CHAIN, ClientState())
