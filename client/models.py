"""The networks: `mlp`, `cnn`, or the user's own `module:function`, and their weights as updates.

The user's function is called with `(input_shape, classes)` and returns an `nn.Module` that
maps `(n, *input_shape)` to logits `(n, classes)`. There is no batch normalisation in the
built-in networks: its statistics do not average well over non-iid clients.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from phloem.compression.update import Update
from phloem.config import ModelConfig
from phloem.errors import ConfigError
from phloem.references import load_reference

LARGEST_MAP = 8  # a cnn averages larger feature maps down to this, so that its head stays small
_building = threading.RLock()  # reentrant: a user's function may build on a built-in network


def build_model(config: ModelConfig, input_shape: tuple[int, ...], classes: int, seed: int) -> nn.Module:
    """Return an untrained network on the CPU, the same for the same seed.

    Torch's global generator is left as it was found.

    Raises:
        ConfigError: there is no such model, it does not fit the inputs, or it is not in float32.
    """
    with _building, seeded(seed):
        if config.name == "mlp":
            module: object = _mlp(config, input_shape, classes)
        elif config.name == "cnn":
            module = _cnn(config, input_shape, classes)
        elif ":" in config.name:
            module = load_reference(config.name)(input_shape, classes)
        else:
            raise ConfigError(
                f"`model.name` should be 'mlp', 'cnn' or your own 'module:function'. Found {config.name!r}. "
                "Check the spelling."
            )
        return _checked(module, config.name, input_shape, classes)


def weights_of(module: nn.Module) -> dict[str, NDArray[np.float32]]:
    """Return copies of the parameters and float buffers, in the order of `state_dict`.

    Integer and boolean buffers, such as batch normalisation's counter, are not part of an
    update: they stay where they are.

    Raises:
        ConfigError: one of them is floating point, but not float32.
    """
    return {name: tensor.cpu().numpy().copy() for name, tensor in _float_tensors(module).items()}


def load_weights(module: nn.Module, weights: Update) -> None:
    """Copy weights into the module, in place; what `weights_of` leaves out stays as it is.

    Raises:
        ConfigError: they are not the module's tensors, in name, shape and float32.
    """
    tensors = _float_tensors(module)
    for name, tensor in tensors.items():
        array = weights.get(name)
        if array is None or array.shape != tuple(tensor.shape) or array.dtype != np.float32:
            found = "none" if array is None else f"{array.dtype} {array.shape}"
            raise ConfigError(
                f"The weights {name!r} should be float32 {tuple(tensor.shape)}. Found {found}. "
                "Use the weights of the same `model` and `data` settings."
            )
        # Not from_numpy: decoded updates may be read-only, which it warns of.
        tensor.copy_(torch.tensor(array))
    if len(weights) != len(tensors):
        others = sorted(weights.keys() - tensors.keys())
        raise ConfigError(
            f"The weights should be {sorted(tensors)}. Found others: {others}. "
            "Use the weights of the same `model` and `data` settings."
        )


@contextmanager
def seeded(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Seed torch's global generators inside, and put them back as they were afterwards."""
    on_gpu = device is not None and device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        # Not torch.manual_seed: it would also seed every GPU, used or not, for good.
        torch.default_generator.manual_seed(seed)
        if on_gpu:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def _float_tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    tensors = {}
    for name, tensor in module.state_dict().items():
        if tensor.dtype == torch.float32:
            tensors[name] = tensor
        elif tensor.is_floating_point() or tensor.is_complex():
            raise ConfigError(
                f"A model should be in float32. Found {tensor.dtype} in {name!r}. Convert it with .float()."
            )
    return tensors


def _mlp(config: ModelConfig, input_shape: tuple[int, ...], classes: int) -> nn.Module:
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    _add_head(layers, math.prod(input_shape), config.hidden, classes)
    return nn.Sequential(layers)


def _cnn(config: ModelConfig, input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """Per entry of `channels` a 3x3 convolution, ReLU and 2x2 pooling; then the `hidden` layers."""
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
    _add_head(layers, before * math.prod(size), config.hidden, classes)
    return nn.Sequential(layers)


def _add_head(
    layers: OrderedDict[str, nn.Module], features: int, hidden: tuple[int, ...], classes: int
) -> None:
    for i, width in enumerate(hidden, start=1):
        layers[f"hidden{i}"] = nn.Linear(features, width)
        layers[f"hidden{i}_relu"] = nn.ReLU()
        features = width
    layers["output"] = nn.Linear(features, classes)


def _checked(module: object, name: str, input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return the module if one sample gives logits; the first round would be late to find out."""
    if not isinstance(module, nn.Module):
        raise ConfigError(
            f"The model {name!r} should return a torch.nn.Module. Found {type(module).__name__}. "
            "Return the network itself."
        )
    expected = (
        f"The model {name!r} should map inputs (1, {', '.join(map(str, input_shape))}) to finite logits"
    )
    module.eval()
    try:
        with torch.no_grad():  # not inference_mode: a lazy layer's weights, made here, could never be trained
            logits = module(torch.zeros(1, *input_shape))
    except Exception as error:  # whatever the user's own code raises; it stays visible as the cause
        raise ConfigError(
            f"{expected} (1, {classes}). Found {type(error).__name__}: {error}. Change its layers."
        ) from error
    if not isinstance(logits, torch.Tensor) or logits.shape != (1, classes) or not logits.isfinite().all():
        found = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise ConfigError(f"{expected} (1, {classes}). Found {found}, or not finite. Change its last layer.")
    if not _float_tensors(module) or not any(p.requires_grad for p in module.parameters()):
        raise ConfigError(f"The model {name!r} should have weights to learn. Found none. Add a layer.")
    return module
