"""Low-rank factorisation: one layer becomes two thin ones, where these have fewer weights.

A weight matrix (m, n) is U S V^T; with rank r the factors U S and V^T hold r (m + n) weights, fewer than
m n only where r < m n / (m + n). A convolution is a matrix of its outputs by all the rest: r filters, then
1x1 mixtures of them (Denton et al. 2014, arXiv 1404.0736). What is left needs lessons.
"""

from __future__ import annotations

import copy

import torch
from torch import nn

from phloem.errors import ConfigError
from phloem.server.shrink.network import parameters, weighty

WORTH_IT = 0.01
"""The least share of the network's weights that a layer's factors should save."""


def factorised(network: nn.Module, share: float) -> nn.Module:
    """Return a copy in which layers whose factors hold at most `share` of their weights became two.

    The rank is the largest that keeps to the share; a layer for which even rank 1 does not stays as it is.
    So does the output layer, where a rank below the number of classes makes some classes mixtures of others,
    and a layer so small that its factors save nothing to speak of.

    Raises:
        ConfigError: a share outside 0..1.
    """
    if not 0 < share < 1:
        raise ConfigError(
            f"The share of weights that factors keep should be between 0 and 1. Found {share}. Use 0.5, say."
        )
    smaller = copy.deepcopy(network).eval()
    layers, least = list(weighty(smaller).values()), WORTH_IT * parameters(smaller)
    worth = [layer for layer in layers[:-1] if (1 - share) * layer.get_parameter("weight").numel() >= least]
    for parent in list(smaller.modules()):
        for name, child in list(parent.named_children()):
            replacement = _two(child, share) if any(child is layer for layer in worth) else None
            if replacement is not None:
                parent.register_module(name, replacement)
    return smaller


def _two(layer: nn.Module, share: float) -> nn.Module | None:
    if not isinstance(layer, nn.Linear | nn.Conv2d) or (isinstance(layer, nn.Conv2d) and layer.groups > 1):
        return None
    matrix = layer.weight.detach().flatten(1)
    outputs, inputs = matrix.shape
    rank = int(share * outputs * inputs / (outputs + inputs))
    if rank < 1:
        return None
    u, s, v = torch.linalg.svd(matrix.double(), full_matrices=False)
    left = (u[:, :rank] * s[:rank].sqrt()).float()
    right = (s[:rank].sqrt()[:, None] * v[:rank]).float()
    first: nn.Linear | nn.Conv2d
    second: nn.Linear | nn.Conv2d
    if isinstance(layer, nn.Linear):
        first, second = nn.Linear(inputs, rank, bias=False), nn.Linear(rank, outputs)
    else:
        first = nn.Conv2d(
            layer.in_channels,
            rank,
            layer.kernel_size,  # type: ignore[arg-type]
            stride=layer.stride,  # type: ignore[arg-type]
            padding=layer.padding,  # type: ignore[arg-type]
            dilation=layer.dilation,  # type: ignore[arg-type]
            bias=False,
        )
        second = nn.Conv2d(rank, outputs, 1)
    with torch.no_grad():
        first.weight.copy_(right.reshape(first.weight.shape))
        second.weight.copy_(left.reshape(second.weight.shape))
        assert second.bias is not None
        second.bias.copy_(torch.zeros(outputs) if layer.bias is None else layer.bias)
    return nn.Sequential(first, second)
