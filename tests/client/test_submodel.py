"""A device with a part of the network: everything on it is of that part, and inner parts learn in turn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from phloem.client.round import Device
from phloem.client.state import ClientState
from phloem.client.stream import Stream
from phloem.client.submodel import part_of
from phloem.compression.codec import codec
from phloem.compression.update import digest
from phloem.config import ClientConfig, ModelConfig
from phloem.errors import ProtocolError
from phloem.learning import open_learner
from phloem.masks import window, write_mask
from phloem.sources import Samples
from phloem.submodel import Submodel, all_of

CONFIG = ModelConfig(name="cnn", channels=(4, 3), hidden=(6,))
LEARNER = open_learner(CONFIG, (1, 8, 8), 3)
LAYOUT = LEARNER.layout
RNG = np.random.default_rng(0)
SAMPLES = Samples(RNG.random((12, 1, 8, 8), np.float32), RNG.integers(0, 3, 12))
HALF = Submodel(LAYOUT, (window(2, 0, 4), window(2, 0, 3), window(3, 0, 6)))
DEVICE = Device(
    client="1",
    stream=Stream(SAMPLES),
    learner=LEARNER,
    config=ClientConfig(),
    steps=codec("dense"),
    full=codec("dense"),
    first=lambda: LEARNER.initial(1),
)


def test_a_device_of_the_whole_network_is_as_it_was() -> None:
    """Protects all runs without parts."""
    assert part_of(DEVICE, b"", ClientState()) is DEVICE
    assert part_of(replace(DEVICE, inner_widths=(1.0,)), b"", ClientState()).learner is LEARNER


def test_a_mask_makes_the_device_narrower() -> None:
    """Protects what parts are for: the network, its tensors and the first version are the part's."""
    narrow = part_of(DEVICE, write_mask(HALF), ClientState())
    assert narrow.learner.schema == HALF.schema
    assert digest(narrow.first()) == digest(HALF.narrow(LEARNER.initial(1)))
    again = part_of(narrow_twin(), write_mask(HALF), ClientState())
    assert again.learner is narrow.learner, "built once"


def narrow_twin() -> Device:
    return replace(DEVICE, client="2")


def test_another_part_than_before_is_refused() -> None:
    """Protects the residual: what is owed to some channels is never sent for others."""
    state = ClientState(held=0, model=LEARNER.initial(1))
    with pytest.raises(ProtocolError, match="same part of the network"):
        part_of(DEVICE, write_mask(HALF), state)


@pytest.mark.parametrize("mask", [b"?", b"w", b"b\xff", write_mask(HALF)[:-1], write_mask(HALF) + b"\0"])
def test_a_mask_of_no_part_is_refused(mask: bytes) -> None:
    """Protects a device from a server that speaks otherwise."""
    with pytest.raises(ProtocolError, match="A mask should name"):
        part_of(DEVICE, mask, ClientState())


def test_inner_networks_learn_as_they_would_alone() -> None:
    """Protects nested widths: with the others shut, a wide network's first channels learn as a narrow one."""
    inner = tuple(HALF.sizes.items())
    gated = LEARNER.part(all_of(LAYOUT), (inner, inner))
    before = LEARNER.initial(1)
    after = gated.learn(before, SAMPLES, ClientConfig(epochs=2), 5)
    alone = LEARNER.part(HALF).learn(HALF.narrow(before), SAMPLES, ClientConfig(epochs=2), 5)
    for name, tensor in HALF.narrow(after).items():
        np.testing.assert_allclose(tensor, alone[name], rtol=1e-4, atol=1e-5)
    _, covered = HALF.widen(alone)
    for name, tensor in after.items():
        np.testing.assert_array_equal(tensor[~covered[name]], before[name][~covered[name]])


def test_widths_within_the_devices_own_learn_in_turn() -> None:
    """Protects the draw: it follows from the seed, and a device has no width above its own."""
    nested = replace(DEVICE, inner_widths=(1.0, 0.5, 0.25))
    wide = part_of(nested, b"", ClientState())
    before = LEARNER.initial(1)
    first, second, other = (wide.learner.learn(before, SAMPLES, ClientConfig(), seed) for seed in (5, 5, 6))
    assert digest(first) == digest(second) != digest(other)
    assert digest(first) != digest(LEARNER.learn(before, SAMPLES, ClientConfig(), 5))
    narrow = part_of(replace(DEVICE, inner_widths=(1.0, 0.5)), write_mask(HALF), ClientState())
    lone = LEARNER.part(HALF).learn(HALF.narrow(before), SAMPLES, ClientConfig(), 5)
    assert digest(narrow.learner.learn(HALF.narrow(before), SAMPLES, ClientConfig(), 5)) == digest(lone)
