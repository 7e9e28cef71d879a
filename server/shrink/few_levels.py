"""Training with weights on few levels: what is rounded or shared is learned with, not only afterwards.

Two ways. Rounded (quantisation-aware training): the layer computes with rounded weights and, if asked,
rounded inputs; the gradient passes the rounding as if it were not there (straight-through: Bengio et al.
2013, arXiv 1308.3432). Shared: every weight is an entry of its layer's codebook, and an entry learns from the
sum of its weights' gradients (Han et al. 2016, Deep compression, arXiv 1510.00149).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils import parametrize

from phloem.compression.kmeans import fit
from phloem.server.shrink.network import predict, weighty

ACTIVATION_LEVELS = 255


def round_weights(network: nn.Module, bits: int | Mapping[str, int]) -> None:
    """Have the named layers, or all, compute with weights of so many bits, one scale an output channel."""
    for name, layer in weighty(network).items():
        wanted = bits if isinstance(bits, int) else bits.get(name)
        if wanted is not None:
            parametrize.register_parametrization(layer, "weight", _Rounded(wanted))


def round_inputs(network: nn.Module, inputs: NDArray[np.float32]) -> list[Any]:
    """Have every layer compute with inputs of 8 bits, as wide as `inputs` need; return hooks to remove."""
    ranges: dict[nn.Module, tuple[float, float]] = {}

    def measure(layer: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
        low, high = ranges.get(layer, (0.0, 0.0))  # zero has to be a level: padding is made of it
        ranges[layer] = (min(low, float(arguments[0].min())), max(high, float(arguments[0].max())))

    layers = list(weighty(network).values())
    hooks = [layer.register_forward_pre_hook(measure) for layer in layers]
    predict(network, inputs)
    for hook in hooks:
        hook.remove()

    def rounded(layer: nn.Module, arguments: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        low, high = ranges[layer]
        step = max((high - low) / ACTIVATION_LEVELS, 1e-12)
        inside = arguments[0].clamp(low, high)
        return (_straight_through(inside, (inside / step).round() * step), *arguments[1:])

    return [layer.register_forward_pre_hook(rounded) for layer in layers]


def share_weights(network: nn.Module, entries: int | Mapping[str, int]) -> None:
    """Have the named layers, or all, take their weights from a codebook of so many entries each."""
    for name, layer in weighty(network).items():
        wanted = entries if isinstance(entries, int) else entries.get(name)
        if wanted is not None:
            weight = layer.get_parameter("weight")
            parametrize.register_parametrization(
                layer, "weight", _Shared(weight.detach(), wanted), unsafe=True
            )


def settle(network: nn.Module) -> None:
    """Turn what the layers compute with into their plain weights."""
    for layer in weighty(network).values():
        if parametrize.is_parametrized(layer, "weight"):
            with torch.no_grad():
                settled = torch.clone(layer.weight)  # type: ignore[arg-type]
            # Not leave_parametrized: it would write into what shared weights were made from.
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
            layer.register_parameter("weight", nn.Parameter(settled))


class _Rounded(nn.Module):
    """As `linear:BITS,per=channel` rounds: a step is the channel's largest magnitude over the levels."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.levels = max(1, (1 << bits - 1) - 1)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        largest = weight.detach().abs().flatten(1).amax(1).reshape(-1, *[1] * (weight.ndim - 1))
        step = (largest / self.levels).clamp(min=1e-12)
        return _straight_through(weight, (weight / step).round() * step)


class _Shared(nn.Module):
    """A codebook, and which entry each weight is."""

    index: torch.Tensor

    def __init__(self, weight: torch.Tensor, entries: int) -> None:
        super().__init__()
        book = fit(weight.numpy().ravel(), entries)
        borders = (book[1:] + book[:-1]) / 2
        self.register_buffer("index", torch.tensor(np.searchsorted(borders, weight.numpy())))
        self.book = nn.Parameter(torch.tensor(book))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return self.book[self.index]


def _straight_through(value: torch.Tensor, rounded: torch.Tensor) -> torch.Tensor:
    """Return `rounded`, with the gradient of `value`."""
    return value + (rounded - value).detach()
