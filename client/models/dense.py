"""Networks of dense and convolutional layers: `mlp`, `cnn`, `autoencoder`."""

from __future__ import annotations

import math
from collections import OrderedDict

from torch import nn

from phloem.config import ModelConfig
from phloem.errors import ConfigError

LARGEST_MAP = 8  # a cnn averages larger feature maps down to this, so that its head stays small


def mlp(config: ModelConfig, input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return the `hidden` layers over the flattened inputs."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    add_head(layers, math.prod(input_shape), config.hidden, classes)
    return nn.Sequential(layers)


def cnn(config: ModelConfig, input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return, per entry of `channels`, a 3x3 convolution, ReLU and 2x2 pooling; then the `hidden` layers.

    Raises:
        ConfigError: the inputs are no images.
    """
    if len(input_shape) != 3:
        raise ConfigError(
            f"The model 'cnn' should have images (channels, height, width) as inputs. Found {input_shape}. "
            "Use the model 'mlp'."
        )
    before, *size = input_shape
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i, channels in enumerate(config.channels, start=1):
        layers[f"conv{i}"] = nn.Conv2d(before, channels, kernel_size=3, padding=1)
        layers[f"conv{i}_relu"] = nn.ReLU()
        window = [min(2, side) for side in size]  # an axis already of size 1 is not pooled further
        layers[f"pool{i}"] = nn.MaxPool2d((window[0], window[1]))
        before, size = channels, [side // pooled for side, pooled in zip(size, window, strict=True)]
    # Fixed windows, not AdaptiveAvgPool2d: that one has no deterministic gradient on GPUs.
    window = [math.ceil(side / LARGEST_MAP) for side in size]
    if max(window) > 1:
        layers["average"] = nn.AvgPool2d((window[0], window[1]), ceil_mode=True)
        size = [math.ceil(side / pooled) for side, pooled in zip(size, window, strict=True)]
    layers["flatten"] = nn.Flatten()
    add_head(layers, before * math.prod(size), config.hidden, classes)
    return nn.Sequential(layers)


def autoencoder(config: ModelConfig, input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return the `hidden` layers, the last of which is the code, and the same widths back to the inputs.

    Raises:
        ConfigError: there is no hidden layer.
    """
    if not config.hidden:
        raise ConfigError(
            "The model 'autoencoder' should have a code, the last of `model.hidden`. Found none. "
            "Set it to, say, '32,8'."
        )
    features = math.prod(input_shape)
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    *outer, code = config.hidden
    before = features
    for i, width in enumerate(outer, start=1):
        layers[f"encode{i}"] = nn.Linear(before, width)
        layers[f"encode{i}_relu"] = nn.ReLU()
        before = width
    layers["code"] = nn.Linear(before, code)
    layers["code_relu"] = nn.ReLU()
    before = code
    for i, width in enumerate(reversed(outer), start=1):
        layers[f"decode{i}"] = nn.Linear(before, width)
        layers[f"decode{i}_relu"] = nn.ReLU()
        before = width
    layers["output"] = nn.Linear(before, features)
    layers["shape"] = nn.Unflatten(1, input_shape)
    return nn.Sequential(layers)


def add_head(
    layers: OrderedDict[str, nn.Module], features: int, hidden: tuple[int, ...], classes: int
) -> None:
    """Append the `hidden` layers and the output to `layers`."""
    for i, width in enumerate(hidden, start=1):
        layers[f"hidden{i}"] = nn.Linear(features, width)
        layers[f"hidden{i}_relu"] = nn.ReLU()
        features = width
    layers["output"] = nn.Linear(features, classes)


def head(features: int, hidden: tuple[int, ...], classes: int) -> nn.Module:
    """Return the `hidden` layers and the output by themselves."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    add_head(layers, features, hidden, classes)
    return nn.Sequential(layers)
