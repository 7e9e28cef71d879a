"""The built-in networks that can be cut: `mlp` and `cnn`, chains of layers whose channels are settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

import torch
from torch import nn

from phloem.compression.update import Schema
from phloem.config import ModelConfig
from phloem.errors import ConfigError
from phloem.masks import check_layout
from phloem.submodel import Layout, chain_layout

CHAINS = ("mlp", "cnn")


def layout_of(config: ModelConfig, schema: Schema) -> Layout:
    """Return where the channels of a network's layers are.

    Raises:
        ConfigError: its layers are no chain, or there is none to cut.
    """
    if config.name not in CHAINS:
        raise ConfigError(
            f"A network that clients have parts of should be one of {', '.join(map(repr, CHAINS))}. "
            f"Found {config.name!r}, whose channels cannot be told apart. Set `submodel.widths` to 1."
        )
    return check_layout(chain_layout(schema))


def narrowed(config: ModelConfig, sizes: Mapping[str, int]) -> ModelConfig:
    """Return the settings of the same network with these numbers of channels, in the order of its layers."""
    counts, maps = list(sizes.values()), len(config.channels) if config.name == "cnn" else 0
    update = {"hidden": tuple(counts[maps:]), **({"channels": tuple(counts[:maps])} if maps else {})}
    return config.model_copy(update=update)


def scale(module: nn.Module, factors: Iterable[tuple[str, float]]) -> nn.Module:
    """Multiply what these layers give by a factor each, so that fewer channels weigh as much as all.

    HeteroFL's scaler, with which what the next layer sums is as large, on average, in every width.
    """
    for layer, factor in factors:
        module.get_submodule(layer).register_forward_hook(partial(_times, factor))
    return module


def _times(factor: float, layer: nn.Module, inputs: object, output: torch.Tensor) -> torch.Tensor:
    return output * factor
