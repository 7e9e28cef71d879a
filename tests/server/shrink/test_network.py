"""What is said of a network is true: its size, its work, and that folding changes nothing it predicts."""

from __future__ import annotations

import numpy as np
from torch import nn

from phloem.server.shrink.network import folded, macs, parameters, predict
from tests.server.shrink.networks import SHAPE, images, normed


def test_folding_batch_normalisation_keeps_what_is_predicted() -> None:
    """What ships has no normalisation left, and answers as before."""
    network = normed()
    plain = folded(network)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in plain.modules())
    assert parameters(plain) == parameters(network) - 2 * (10 + 20)
    np.testing.assert_allclose(predict(plain, images(20)), predict(network, images(20)), atol=1e-5)


def test_multiplications_are_counted_as_the_formula_says() -> None:
    """c_in c_out k^2 H W for a convolution, inputs x outputs for a linear layer."""
    assert macs(normed(), SHAPE) == 9 * 10 * 64 + 9 * 10 * 20 * 64 + 180 * 10


def test_predicting_leaves_no_trace() -> None:
    """Neither the statistics of a normalisation nor a hook stays behind."""
    network = normed()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network.train()
    macs(network, SHAPE)
    predict(network, images(300))
    assert all((tensor == before[name]).all() for name, tensor in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())
