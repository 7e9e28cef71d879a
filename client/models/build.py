"""The networks, built in or the user's own `module:function`, and their weights as updates.

The user's function is called with `(input_shape, classes)` and returns an `nn.Module` that
maps `(n, *input_shape)` to logits `(n, classes)`. There is no batch normalisation in the
built-in networks: its statistics do not average well over non-iid clients.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from phloem.client.models.dense import autoencoder, cnn, mlp
from phloem.client.models.sequence import gru, transformer
from phloem.client.models.table import embedding
from phloem.client.tasks import task_of
from phloem.compression.update import Update
from phloem.config import ModelConfig
from phloem.errors import ConfigError
from phloem.references import load_reference

Build = Callable[[ModelConfig, tuple[int, ...], int], nn.Module]

BUILT_IN: dict[str, Build] = {
    "mlp": mlp,
    "cnn": cnn,
    "gru": gru,
    "transformer": transformer,
    "autoencoder": autoencoder,
    "embedding": embedding,
}
_building = threading.RLock()  # reentrant: a user's function may build on a built-in network


def build_model(config: ModelConfig, input_shape: tuple[int, ...], classes: int, seed: int) -> nn.Module:
    """Return an untrained network on the CPU, the same for the same seed.

    Torch's global generator is left as it was found.

    Raises:
        ConfigError: there is no such model, it does not fit the inputs, or it is not in float32.
    """
    with _building, seeded(seed):
        if config.name in BUILT_IN:
            module: object = BUILT_IN[config.name](config, input_shape, classes)
        elif ":" in config.name:
            module = load_reference(config.name)(input_shape, classes)
        else:
            raise ConfigError(
                f"`model.name` should be one of {', '.join(map(repr, BUILT_IN))}, or your own "
                f"'module:function'. Found {config.name!r}. Check the spelling."
            )
        return _checked(module, config, input_shape, classes)


def codes_of(config: ModelConfig, classes: int) -> tuple[int, ...]:
    """Return how many codes inputs may have, for each column or in all; empty for plain numbers."""
    return {"transformer": (classes,), "embedding": config.rows}.get(config.name, ())


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


def _checked(module: object, config: ModelConfig, input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return the module if one sample gives logits; the first round would be late to find out."""
    name, shape = config.name, (1, *task_of(config).output_shape(input_shape, classes))
    if not isinstance(module, nn.Module):
        raise ConfigError(
            f"The model {name!r} should return a torch.nn.Module. Found {type(module).__name__}. "
            "Return the network itself."
        )
    expected = (
        f"The model {name!r} should map inputs (1, {', '.join(map(str, input_shape))}) to finite outputs"
    )
    module.eval()
    try:
        with torch.no_grad():  # not inference_mode: a lazy layer's weights, made here, could never be trained
            outputs = module(torch.zeros(1, *input_shape))
    except Exception as error:  # whatever the user's own code raises; it stays visible as the cause
        raise ConfigError(
            f"{expected} {shape}. Found {type(error).__name__}: {error}. Change its layers."
        ) from error
    if not isinstance(outputs, torch.Tensor) or outputs.shape != shape or not outputs.isfinite().all():
        found = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
        raise ConfigError(f"{expected} {shape}. Found {found}, or not finite. Change its last layer.")
    if not _float_tensors(module) or not any(p.requires_grad for p in module.parameters()):
        raise ConfigError(f"The model {name!r} should have weights to learn. Found none. Add a layer.")
    return module
