"""Small networks made to a size: the widest of a family that stays within a budget of weights."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from phloem.errors import ConfigError
from phloem.server.shrink.network import folded, parameters, reproducible

WIDEST = 512
LARGE, SMALL, SMALLEST = 16, 4, 2


@dataclass(frozen=True)
class Student:
    """A family and its width, which together with the inputs' shape and the classes say all."""

    family: str
    width: int

    def build(self, input_shape: tuple[int, ...], classes: int, *, seed: int) -> nn.Module:
        """Return the untrained network, the same for the same seed."""
        with reproducible(seed):
            return FAMILIES[self.family](self.width, input_shape, classes)

    def __str__(self) -> str:
        return f"{self.family}:{self.width}"


def fitting(input_shape: tuple[int, ...], classes: int, budget: int) -> list[Student]:
    """Return the widest student of each family that suits the inputs and has at most `budget` weights.

    Weights are counted as they are shipped, with batch normalisation folded.

    Raises:
        ConfigError: not even the narrowest fits.
    """
    families = FAMILIES if len(input_shape) == 3 else {"mlp": _mlp}
    found = []
    for family in families:
        low, high = 0, WIDEST
        while low < high:
            middle = (low + high + 1) // 2
            size = parameters(folded(Student(family, middle).build(input_shape, classes, seed=0)))
            low, high = (middle, high) if size <= budget else (low, middle - 1)
        if low:
            found.append(Student(family, low))
    if not found:
        raise ConfigError(
            f"A student should have at least one unit a layer. Found room for {budget} weights only. "
            "Ask for a larger share."
        )
    return found


def _mlp(width: int, input_shape: tuple[int, ...], classes: int) -> nn.Module:
    features = int(torch.Size(input_shape).numel())
    return nn.Sequential(
        OrderedDict(
            flatten=nn.Flatten(),
            hidden=nn.Linear(features, width),
            hidden_norm=nn.BatchNorm1d(width),
            hidden_relu=nn.ReLU(),
            output=nn.Linear(width, classes),
        )
    )


def _conv(width: int, input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """3x3 convolutions of half the width, the width and the width, and a linear layer."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    inputs = -(-width // 2)
    size = _stem(layers, input_shape, inputs)
    for i in (1, 2):
        _norm_relu(layers, f"conv{i}", nn.Conv2d(inputs, width, 3, padding=1))
        size, inputs = _halved(layers, f"pool{i}", size, SMALL), width
    return _headed(layers, size, width, classes)


def _depthwise(width: int, input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """A 3x3 filter a channel, then 1x1 mixtures (MobileNet: Howard et al. 2017, arXiv 1704.04861)."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    inputs = -(-width // 2)
    size = _stem(layers, input_shape, inputs)
    for i in (1, 2):
        _norm_relu(layers, f"filter{i}", nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs))
        _norm_relu(layers, f"mix{i}", nn.Conv2d(inputs, width, 1))
        size, inputs = _halved(layers, f"pool{i}", size, SMALL), width
    return _headed(layers, size, width, classes)


FAMILIES: dict[str, Callable[[int, tuple[int, ...], int], nn.Module]] = {
    "depthwise": _depthwise,
    "conv": _conv,
    "mlp": _mlp,
}


def _stem(layers: OrderedDict[str, nn.Module], input_shape: tuple[int, ...], width: int) -> tuple[int, int]:
    """Add the first convolution, and pool large images after it. Returns the map's size."""
    channels, height, width_px = input_shape
    _norm_relu(layers, "stem", nn.Conv2d(channels, width, 3, padding=1))
    return _halved(layers, "stem_pool", (height, width_px), LARGE)


def _norm_relu(layers: OrderedDict[str, nn.Module], name: str, convolution: nn.Conv2d) -> None:
    layers[name] = convolution
    layers[f"{name}_norm"] = nn.BatchNorm2d(convolution.out_channels)
    layers[f"{name}_relu"] = nn.ReLU()


def _halved(
    layers: OrderedDict[str, nn.Module], name: str, size: tuple[int, int], smallest: int
) -> tuple[int, int]:
    """Pool a map of at least `smallest` pixels a side."""
    if min(size) < smallest:
        return size
    layers[name] = nn.MaxPool2d(2)
    return size[0] // 2, size[1] // 2


def _headed(
    layers: OrderedDict[str, nn.Module], size: tuple[int, int], channels: int, classes: int
) -> nn.Module:
    """Average what is left of the map to at most 2x2 fields, and add the linear layer."""
    window = [-(-side // SMALLEST) for side in size]
    if max(window) > 1:
        layers["average"] = nn.AvgPool2d((window[0], window[1]), ceil_mode=True)
        size = (-(-size[0] // window[0]), -(-size[1] // window[1]))
    layers["flatten"] = nn.Flatten()
    layers["output"] = nn.Linear(channels * size[0] * size[1], classes)
    return nn.Sequential(layers)
