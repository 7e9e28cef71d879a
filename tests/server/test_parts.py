"""Clients with a part of the network: who has which, and what becomes of their updates."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phloem.compression.codec import codec
from phloem.compression.frame import peek, unpack_chain
from phloem.compression.update import Schema, Update, digest
from phloem.config import Experiment, ServerConfig
from phloem.errors import ConfigError
from phloem.ledger import Ledger, Message
from phloem.protocol import LONGEST_CHAIN, MESSAGE, Reply
from phloem.records import get_blob
from phloem.server.aggregate import Gathering
from phloem.server.app import prepare
from phloem.server.parts import part_for, width_of
from phloem.server.round import aggregate, first_state, instruct
from phloem.server.state import Arrived, Setting
from phloem.settings.submodel import SubmodelConfig
from phloem.simulation.run import resume, simulate
from phloem.submodel import Submodel
from phloem.summary import summarise

EXPERIMENT = Experiment().with_values(
    {
        "data.clients": 4,
        "model.hidden": "8,6",
        "submodel.widths": "1,0.5",
        "server.clients_per_round": 0,
        "client.epochs": 1,
        "run.rounds": 4,
        "run.reference": False,
        "run.baselines": "none",
    }
)
SETTING = prepare(EXPERIMENT)
LAYOUT = SETTING.learner.layout
WHOLE = SETTING.learner.schema
MODEL = SETTING.learner.initial(1)


def update(schema: Schema, seed: int) -> Update:
    rng = np.random.default_rng(seed)
    return {t.name: rng.normal(size=t.shape).astype(np.float32) for t in schema.tensors}


def part(seed: int) -> Submodel | None:
    """The whole network for every third seed, else any part of it."""
    rng = np.random.default_rng(seed)
    if seed % 3 == 0:
        return None
    kept = [
        tuple(sorted(rng.choice(whole, rng.integers(1, whole + 1), replace=False).tolist()))
        for _, whole in LAYOUT.channels
    ]
    return Submodel(LAYOUT, tuple(kept))


def gathered(config: ServerConfig, seeds: list[int]) -> tuple[Gathering, list[tuple[Update, Update, int]]]:
    """A gathering, and what was put into it as whole updates, where they count, and their samples."""
    gathering = Gathering(WHOLE, config)
    put: list[tuple[Update, Update, int]] = []
    for seed in seeds:
        cut, samples = part(seed), 1 + seed % 50
        own = update(WHOLE if cut is None else cut.schema, seed)
        gathering.add(own, samples, cut)
        whole, covered = (
            (own, {n: np.ones(t.shape) for n, t in own.items()}) if cut is None else cut.widen(own)
        )
        put.append((whole, {name: c.astype(np.float32) for name, c in covered.items()}, samples))
    return gathering, put


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=6))
def test_each_weight_is_the_mean_over_those_that_have_it(seeds: list[int]) -> None:
    """Protects the average: equal to the textbook's weight by weight, and who has none has no say."""
    gathering, put = gathered(ServerConfig(learning_rate=0.5), seeds)
    moved, _ = gathering.apply_to(MODEL, {}, 1)
    for name, tensor in MODEL.items():
        total = sum(samples * covered[name].astype(np.float64) for _, covered, samples in put)
        summed = sum(samples * whole[name].astype(np.float64) for whole, _, samples in put)
        step = np.divide(summed, total, out=np.zeros(tensor.shape), where=np.asarray(total) > 0)
        np.testing.assert_allclose(moved[name], tensor + 0.5 * step, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rule", ["fedavg", "fedavgm", "fedadam", "fedyogi"])
@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_what_nobody_had_stays_to_the_bit(rule: Any, clip: float) -> None:
    """Protects channels outside all parts: no mean, optimizer or clipping touches them."""
    cut = Submodel(LAYOUT, ((0, 3), (1, 2)))
    gathering = Gathering(WHOLE, ServerConfig(aggregation=rule, clip=clip))
    for seed in range(3):
        gathering.add(update(cut.schema, seed), 10, cut)
    moved, _ = gathering.apply_to(MODEL, {}, 1)
    _, covered = cut.widen(cut.narrow(MODEL))
    for name, tensor in MODEL.items():
        np.testing.assert_array_equal(moved[name][~covered[name]], tensor[~covered[name]])
        assert (moved[name][covered[name]] != tensor[covered[name]]).all()


def test_a_part_is_clipped_by_the_size_of_its_values() -> None:
    """Protects parts from being favoured: a bound on length is one on the values, in every width alike."""
    cut = Submodel(LAYOUT, ((0,), (0,)))
    ones = {t.name: np.ones(t.shape, np.float32) for t in WHOLE.tensors}
    small = {t.name: np.full(t.shape, 4, np.float32) for t in cut.schema.tensors}
    gathering = Gathering(WHOLE, ServerConfig(clip=1.0))
    gathering.add(ones, 1)
    gathering.add(ones, 1)
    gathering.add(small, 1, cut)
    zero = {name: np.zeros_like(t) for name, t in ones.items()}
    moved, _ = gathering.apply_to(zero, {}, 1)
    for tensor in moved.values():
        np.testing.assert_allclose(tensor, 1, rtol=1e-5)


@pytest.mark.parametrize("widths", ["0.5", "0.25", "1,0.3,0.3"])
def test_rolling_windows_leave_no_channel_out(widths: str) -> None:
    """Protects every channel: with enough clients each is trained by somebody narrow."""
    config = Experiment().with_values({"submodel.widths": widths, "submodel.choice": "rolling"}).submodel
    parts = [found for c in range(16) if (found := part_for(str(c), config, LAYOUT, MODEL)) is not None]
    for depth, (_, whole) in enumerate(LAYOUT.channels):
        assert {channel for found in parts for channel in found.kept[depth]} == set(range(whole))
    if widths == "0.5":  # and each pair of windows of two layers meets
        assert len({found.kept for found in parts}) == 4


def test_clients_take_the_widths_in_turn() -> None:
    """Protects who has what: it follows from the client's id alone, a name's as well."""
    config = SubmodelConfig(widths=(1.0, 0.5, 0.5))
    assert [width_of(str(c), config) for c in range(5)] == [(1, 0), (0.5, 0), (0.5, 1), (1, 1), (0.5, 2)]
    assert width_of("camera", config) == width_of("camera", config)


def test_the_longest_channels_are_found() -> None:
    """Protects `norm`: a channel counts with all that comes and goes with it."""
    model = {name: np.zeros_like(tensor) for name, tensor in MODEL.items()}
    model["hidden1.weight"][5] = 0.1
    model["hidden2.weight"][4, 1] = 9.0
    model["output.weight"][0, 2] = 1.0
    config = SubmodelConfig(widths=(0.25, 1.0), choice="norm")
    found = part_for("0", config, LAYOUT, model)
    assert found is not None
    assert found.kept == ((1, 5), (2, 4))


def reply(client: str, setting: Setting, delta: Update, version: int) -> Arrived:
    blob, _ = codec("dense").encode(delta, base=version, seq=1)
    return Arrived(client, Reply(client, 1, 1, version, 32, 1.0, 16, b"", 0.1, 0.1, 0.1).to_mapping(), blob)


def test_an_update_of_another_part_is_refused() -> None:
    """Protects the model: a client may send what fits its own part, and nothing else, however whole."""
    setting = replace(SETTING, experiment=EXPERIMENT.with_values({"uplink.codec": "dense"}))
    state, paths = instruct(setting, first_state(setting, dict.fromkeys("0123", b"")), 1, list("0123"))
    own = setting.schema(state.held, "1")
    assert own.parameters < WHOLE.parameters == setting.schema(state.held, "0").parameters
    sent = {"0": own, "1": own, "2": WHOLE, "3": WHOLE}
    versions = {client: path.model.version for client, path in paths.items()}
    outcome = aggregate(
        setting, state, 1, [reply(c, setting, update(s, 1), versions[c]) for c, s in sent.items()]
    )
    assert [item.sane.reply.client for item in outcome.accepted] == ["1", "2"]
    assert {(refused.client, refused.code) for refused in outcome.refused} == {
        ("0", "corrupt"),
        ("3", "corrupt"),
    }


def test_both_ways_are_of_the_part_alone(tmp_path: Path) -> None:
    """Protects what it is for: frames, sizes and dense sizes of a narrow client are its own network's."""
    masks: dict[str, set[bytes]] = {}
    prints: dict[bytes, set[bytes]] = {}

    def tap(message: Any) -> None:
        fields = message.content.config_records[MESSAGE] if message.has_content() else {}
        if "codec" in fields:
            client = str(message.metadata.dst_node_id - 2)
            masks.setdefault(client, set()).add(fields.get("mask", b""))
            for blob in unpack_chain(get_blob(message.content) or b"", LONGEST_CHAIN):
                prints.setdefault(fields.get("mask", b""), set()).add(peek(blob).schema)

    folder = simulate(EXPERIMENT, tmp_path / "run", tap=tap)
    narrow = part_for("1", EXPERIMENT.submodel, LAYOUT, MODEL)
    assert narrow is not None
    assert masks["0"] == masks["2"] == {b""}
    assert masks["1"] == masks["3"] != {b""}, "one part for the whole run"
    assert prints == {b"": {WHOLE.fingerprint}, masks["1"].pop(): {narrow.schema.fingerprint}}
    with Ledger.open(folder / "run.sqlite") as ledger:
        rows = [row for row in ledger.read(Message) if row.kind == "train"]
    for row in rows:
        expected = WHOLE if row.client in "02" else narrow.schema
        assert row.dense_bytes in (0, expected.dense_bytes)
    found = summarise(folder)
    assert found.rejected == 0
    assert found.widths["0.5"].share == pytest.approx(narrow.share, abs=1e-4)
    assert found.widths["1"].share == 1


def test_a_run_in_parts_goes_on_to_the_same_hashes(tmp_path: Path) -> None:
    """Protects resuming: masks and what each part's clients hold are in the checkpoint."""

    class PowerCut(BaseException):
        """Nothing in a run catches it."""

    def cut(label: str, round_number: int) -> None:
        if (label, round_number) == ("instructed", 3):
            raise PowerCut

    whole = summarise(simulate(EXPERIMENT, tmp_path / "whole"))
    with pytest.raises(PowerCut):
        simulate(EXPERIMENT, tmp_path / "cut", reach=cut)
    again = summarise(resume(tmp_path / "cut"))
    assert (again.model_sha256, again.ledger_sha256) == (whole.model_sha256, whole.ledger_sha256)


def test_width_1_changes_nothing(tmp_path: Path) -> None:
    """Protects runs without parts: their bytes and hashes are those of a run that knows nothing of them."""
    plain = EXPERIMENT.with_values({"submodel.widths": 1, "run.rounds": 2})
    same = plain.with_values({"submodel.widths": "1,1", "submodel.choice": "rolling"})
    first, second = (
        summarise(simulate(e, tmp_path / name)) for name, e in (("plain", plain), ("same", same))
    )
    assert (first.model_sha256, first.ledger_sha256, first.uplink, first.downlink) == (
        second.model_sha256,
        second.ledger_sha256,
        second.uplink,
        second.downlink,
    )
    assert digest(MODEL) == digest(SETTING.learner.initial(1))


def test_parts_vote_with_their_own_network(tmp_path: Path) -> None:
    """Protects distillation: a narrow client's model is heard, though the server's is wider."""
    with_teacher = EXPERIMENT.with_values(
        {"server.distill.enabled": True, "server.distill.steps": 2, "run.rounds": 1}
    )
    assert summarise(simulate(with_teacher, tmp_path / "run")).rejected == 0


def test_a_network_that_cannot_be_cut_is_refused_before_training() -> None:
    """Protects a run from failing late."""
    with pytest.raises(ConfigError, match="transformer"):
        prepare(EXPERIMENT.with_values({"model.name": "transformer", "data.source": "digits"}))
