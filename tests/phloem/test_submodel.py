"""Parts of a network: slices that fit together, and masks that say no more than which channels there are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phloem.compression.update import Schema, Update, digest
from phloem.config import Experiment, ModelConfig
from phloem.errors import ConfigError, ProtocolError
from phloem.learning import open_learner
from phloem.masks import MOST_CHANNELS, read_mask, window, write_mask
from phloem.submodel import Layout, Submodel, all_of, channels_of

MLP = open_learner(ModelConfig(hidden=(6, 5)), (1, 4, 4), 3)
CNN = open_learner(ModelConfig(name="cnn", channels=(4, 3), hidden=(5,)), (2, 8, 8), 3)


def cuts(layout: Layout) -> st.SearchStrategy[Submodel]:
    """Any submodel of a layout."""
    layers = [st.sets(st.integers(0, whole - 1), min_size=1) for _, whole in layout.channels]
    return st.tuples(*layers).map(lambda kept: Submodel(layout, tuple(tuple(sorted(k)) for k in kept)))


submodels = st.sampled_from([MLP.layout, CNN.layout]).flatmap(cuts)


def update(schema: Schema, seed: int = 0) -> Update:
    rng = np.random.default_rng(seed)
    return {t.name: rng.normal(size=t.shape).astype(np.float32) for t in schema.tensors}


@given(submodels)
def test_a_slice_that_was_widened_is_the_slice_again(part: Submodel) -> None:
    """Protects every coordinate: what a client sent is found where it belongs, and nothing beside it."""
    own = update(part.schema)
    whole, covered = part.widen(own)
    assert digest(part.narrow(whole)) == digest(own)
    for name, tensor in whole.items():
        assert covered[name].sum() == own[name].size
        assert not tensor[~covered[name]].any()
    assert part.share == part.schema.parameters / part.layout.schema.parameters


@given(submodels)
def test_a_mask_survives_the_wire(part: Submodel) -> None:
    """Protects both sides having one part: what is read is what was written, in a few bytes."""
    data = write_mask(part)
    assert read_mask(data, part.layout) == part
    assert len(data) <= 1 + 4 * len(part.layout.channels)


@given(submodels, st.data())
def test_another_mask_is_refused(part: Submodel, data: st.DataObject) -> None:
    """Protects a device: whatever comes as a mask gives a part of its own network or a ProtocolError."""
    good = write_mask(part)
    bad = bytearray(good)
    bad[data.draw(st.integers(0, len(bad) - 1))] ^= data.draw(st.integers(1, 255))
    for altered in (bytes(bad), good[:-1], good + b"\0", b""):
        try:
            found = read_mask(altered, part.layout)
        except ProtocolError:
            continue
        assert write_mask(found) == altered != good


@pytest.mark.parametrize("learner", [MLP, CNN], ids=["mlp", "cnn"])
@given(data=st.data())
def test_a_part_is_the_network_with_the_other_channels_silent(learner: object, data: st.DataObject) -> None:
    """Protects what a device computes: its narrow network is the whole one whose other channels give 0."""
    network = MLP if learner is MLP else CNN
    part = data.draw(cuts(network.layout))
    own = update(part.schema)
    x = np.random.default_rng(1).random((5, *((1, 4, 4) if network is MLP else (2, 8, 8))), np.float32)
    narrow = network.part(part)
    assert narrow.schema == part.schema
    silent, _ = part.widen(own)
    np.testing.assert_allclose(narrow.logits(own, x), network.logits(silent, x), rtol=1e-4, atol=1e-4)


def test_all_channels_are_the_whole_network() -> None:
    """Protects clients of width 1: nothing is cut, in the same order."""
    part, whole = all_of(CNN.layout), update(CNN.schema)
    assert part.schema == CNN.schema
    assert digest(part.narrow(whole)) == digest(whole)


def test_windows_go_round() -> None:
    """Protects a mask of four bytes a layer: a window may run over the last channel."""
    assert window(3, 4, 6) == (0, 4, 5)
    assert window(6, 2, 6) == tuple(range(6))
    part = Submodel(MLP.layout, (window(3, 4, 6), window(2, 0, 5)))
    assert len(write_mask(part)) == 1 + 4 * 2


@pytest.mark.parametrize(("width", "whole", "count"), [(0.5, 5, 3), (0.25, 128, 32), (0.01, 8, 1), (1, 7, 7)])
def test_a_width_is_so_many_channels(width: float, whole: int, count: int) -> None:
    """Protects small layers: a half is rounded up, and a channel is left."""
    assert channels_of(width, whole) == count


@pytest.mark.parametrize(
    "model", [ModelConfig(name="gru"), ModelConfig(hidden=()), ModelConfig(hidden=(MOST_CHANNELS + 1,))]
)
def test_what_cannot_be_cut_is_refused(model: ModelConfig) -> None:
    """Protects a run from a network whose channels cannot be told apart, or not be said."""
    learner = open_learner(model, (4, 2), 3)
    with pytest.raises(ConfigError, match=r"should (be one|have hidden).*Found.*submodel\.widths"):
        _ = learner.layout


@pytest.mark.parametrize(
    "values",
    [
        {"submodel.widths": ""},
        {"submodel.widths": "1,0"},
        {"submodel.widths": "1.5"},
        {"submodel.widths": "0.5"},
        {"submodel.widths": "0.5", "submodel.choice": "norm"},
        {"submodel.widths": "1,0.5", "server.aggregation": "krum"},
        {"submodel.widths": "1,0.5", "server.aggregation": "fedmedian"},
    ],
)
def test_settings_that_cannot_work_are_refused(values: dict[str, object]) -> None:
    """Protects from channels that nobody trains, and from rules that compare whole updates."""
    with pytest.raises(ConfigError, match="Found"):
        Experiment().with_values(values)


def test_widths_have_one_form_in_toml_and_in_a_flat_config() -> None:
    """Protects Flower's run-config, which knows no lists."""
    experiment = Experiment().with_values({"submodel.widths": "1, 0.5,0.25"})
    assert experiment.submodel.widths == (1.0, 0.5, 0.25)
    assert experiment.to_flat()["submodel.widths"] == "1.0,0.5,0.25"
    assert Experiment().with_values({"submodel.widths": 1}).submodel.whole
