"""Channels really go, the work shrinks by the square, and rankings rank what they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("torch_pruning", reason='needs the extra: pip install "phloem[shrink]"')

from phloem.errors import ConfigError
from phloem.server.shrink.channels import RANKINGS, pruned
from phloem.server.shrink.information import mutual_information
from phloem.server.shrink.network import macs, predict, weights_of, weighty
from tests.server.shrink.networks import SHAPE, images, normed


@pytest.mark.parametrize("ranking", RANKINGS)
def test_half_the_channels_are_a_quarter_of_the_work(ranking: str) -> None:
    """Whatever ranks them; the classes stay, and the network that was given is not touched."""
    network = normed()
    before = weights_of(network)
    small = pruned(network, 0.5, images(64), ranking, seed=1)
    layers = weighty(small)
    assert layers["conv1"].get_parameter("weight").shape == (5, 1, 3, 3)
    assert layers["conv2"].get_parameter("weight").shape == (10, 5, 3, 3)
    assert predict(small, images(3)).shape == (3, 10)
    assert macs(small, SHAPE) < 0.27 * macs(network, SHAPE)
    assert all((tensor == before[name]).all() for name, tensor in weights_of(network).items())


def test_each_layer_may_lose_its_own_share() -> None:
    """The search asks for that."""
    small = weighty(pruned(normed(), {"conv1": 0.0, "conv2": 0.75}, images(8)))
    assert [small[name].get_parameter("weight").shape[0] for name in ("conv1", "conv2", "output")] == [
        10,
        5,
        10,
    ]


def test_the_weakest_channels_go() -> None:
    """Channels without weights are what l2 removes, so nothing that is predicted changes."""
    network = normed()
    with torch.no_grad():
        for name in ("conv1", "norm1"):
            network.get_submodule(name).get_parameter("weight")[:3] = 0
            network.get_submodule(name).get_parameter("bias")[:3] = 0
        network.get_submodule("conv2").get_parameter("weight")[:, :3] = 0
    small = pruned(network, {"conv1": 0.3}, images(8), "l2")
    np.testing.assert_allclose(predict(small, images(20)), predict(network, images(20)), atol=1e-5)


def test_information_is_that_of_the_textbook() -> None:
    """Zero where nothing is told, the entropy of the classes where all is."""
    labels = np.repeat(np.arange(4), 100)
    assert mutual_information(np.zeros(400, np.float32), labels) == pytest.approx(0)
    assert mutual_information(labels.astype(np.float32), labels) == pytest.approx(np.log(4))
    noise = np.random.default_rng(0).random(400, np.float32)
    assert mutual_information(noise, labels) < 0.1


@pytest.mark.parametrize(
    ("share", "ranking", "words"),
    [(1.0, "l2", "below 1"), (-0.1, "l2", "below 1"), (0.3, "entropy", "should be one of")],
)
def test_what_cannot_be_done_is_said(share: float, ranking: str, words: str) -> None:
    """Before anything is removed."""
    with pytest.raises(ConfigError, match=words):
        pruned(normed(), share, images(8), ranking)


def test_bn_needs_batch_normalisation() -> None:
    """Its scale is what is ranked."""
    with pytest.raises(ConfigError, match="needs batch normalisation"):
        pruned(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)), 0.3, images(8), "bn")


def test_a_network_that_cannot_be_traced_is_told() -> None:
    """A user's network may count on the sizes of its layers."""

    class Counting(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(1, 8, 3, padding=1)
            self.output = torch.nn.Linear(8 * 64, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.output(self.conv(x).reshape(len(x), 8 * 64))
            return found

    with pytest.raises(ConfigError, match="traced from layer to layer"):
        pruned(Counting().eval(), 0.5, images(8))
