"""Networks as a user might write them; the tests name them by reference."""

from __future__ import annotations

import torch
from torch import nn


def linear(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return the smallest network there is."""
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(classes))


def normalised(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return a network with buffers, one of them an integer, and with dropout."""
    return nn.Sequential(
        nn.Flatten(),
        nn.LazyLinear(16),
        nn.BatchNorm1d(16),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.LazyLinear(classes),
    )


class TwoBiases(nn.Module):
    """Two parameters of one gradient, one that is never used, and one that is fixed."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(classes, features) / features)
        self.first = nn.Parameter(torch.ones(classes))
        self.second = nn.Parameter(torch.ones(classes))
        self.unused = nn.Parameter(torch.ones(3))
        self.fixed = nn.Parameter(torch.ones(1), requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        return x.flatten(1) @ self.weight.T * self.fixed + (self.first + self.second)


def two_biases(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return it for flat inputs."""
    return TwoBiases(torch.Size(input_shape).numel(), classes)


def too_many_classes(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return a network for another problem."""
    return linear(input_shape, classes + 1)


def not_finite(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return a network whose logits are NaN."""
    module = linear(input_shape, classes)
    module(torch.zeros(1, *input_shape))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(float("nan"))
    return module


def raises(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return a network for inputs of another width."""
    return nn.Sequential(nn.Flatten(), nn.Linear(3, classes))


def double(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return a network with a buffer in float64."""
    module = linear(input_shape, classes)
    module.register_buffer("scale", torch.ones(1, dtype=torch.float64))
    return module


def nothing_to_learn(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return a network that is fixed."""
    return TwoBiases(torch.Size(input_shape).numel(), classes).requires_grad_(False)


def no_module(input_shape: tuple[int, ...], classes: int) -> object:
    """Return something else."""
    return [input_shape, classes]
