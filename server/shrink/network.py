"""A trained global model as a torch network, and what can be read off any network.

The server may not import the client: the function that builds the network, and those that
carry weights in and out of it, are opened by their references.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from phloem.compression.update import Update
from phloem.config import ModelConfig
from phloem.references import load_reference

BUILD = "phloem.client.models.build:build_model"
LOAD = "phloem.client.models.build:load_weights"
READ = "phloem.client.models.build:weights_of"
SEEDED = "phloem.client.models.build:seeded"
ONE_THREAD = "phloem.client.threads:one_thread"

WEIGHTY = (nn.Conv1d, nn.Conv2d, nn.Linear)
"""The layers that hold nearly all weights and do nearly all multiplications."""

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
PREDICTED_AT_ONCE = 256


def open_network(
    config: ModelConfig, input_shape: tuple[int, ...], classes: int, weights: Update
) -> nn.Module:
    """Return the network that `config` describes, with these weights, ready to predict.

    Raises:
        ConfigError: there is no such model, or the weights are not its own.
    """
    network: nn.Module = load_reference(BUILD)(config, input_shape, classes, 0)
    with torch.no_grad():
        load_reference(LOAD)(network, weights)
    return network.eval()


def weights_of(network: nn.Module) -> dict[str, NDArray[np.float32]]:
    """Return copies of the float tensors, in the order of `state_dict`."""
    weights: dict[str, NDArray[np.float32]] = load_reference(READ)(network)
    return weights


@contextmanager
def reproducible(seed: int) -> Iterator[None]:
    """Compute on one thread, with torch's generator seeded: the same bits whatever the machine is doing."""
    with load_reference(ONE_THREAD)(), load_reference(SEEDED)(seed):
        yield


def predict(network: nn.Module, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the logits `(n, classes)`; the network is left ready to predict."""
    network.eval()
    with reproducible(0), torch.no_grad():
        parts = [
            network(torch.tensor(x[start : start + PREDICTED_AT_ONCE])).numpy()
            for start in range(0, len(x), PREDICTED_AT_ONCE)
        ]
    return np.concatenate(parts)


def parameters(network: nn.Module) -> int:
    """Return how many weights are learned."""
    return sum(parameter.numel() for parameter in network.parameters())


def weighty(network: nn.Module) -> dict[str, nn.Module]:
    """Return the convolutions and linear layers by name, in the order of their definition."""
    return {name: module for name, module in network.named_modules() if isinstance(module, WEIGHTY)}


def macs(network: nn.Module, input_shape: tuple[int, ...]) -> int:
    """Return the multiplications of convolutions and linear layers for one sample, counted while one runs."""
    total = 0

    def count(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal total
        # Every output is one product of a kernel, all axes of the weight but the first, with inputs.
        total += output.numel() * math.prod(module.get_parameter("weight").shape[1:])

    hooks = [module.register_forward_hook(count) for module in weighty(network).values()]
    try:
        predict(network, np.zeros((1, *input_shape), np.float32))
    finally:
        for hook in hooks:
            hook.remove()
    return total


def folded(network: nn.Module) -> nn.Module:
    """Return a copy that predicts the same, with batch normalisation folded into the layer before it.

    Only neighbours within an `nn.Sequential` are known to follow each other; others stay as they are.
    """
    copied = copy.deepcopy(network).eval()
    for sequence in [module for module in copied.modules() if isinstance(module, nn.Sequential)]:
        names = list(sequence._modules)
        for before, after in pairwise(names):
            layer, norm, owner = sequence._modules[before], sequence._modules[after], sequence
            while isinstance(layer, nn.Sequential) and len(layer):  # a layer that became two: its last one
                owner, before = layer, list(layer._modules)[-1]
                layer = owner._modules[before]
            if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                owner._modules[before] = fuse_conv_bn_eval(layer, norm)
            elif isinstance(layer, nn.Linear) and isinstance(norm, nn.BatchNorm1d):
                owner._modules[before] = fuse_linear_bn_eval(layer, norm)
            else:
                continue
            sequence._modules[after] = nn.Identity()
    return copied
