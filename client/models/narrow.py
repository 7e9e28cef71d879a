"""The built-in networks that can be cut: `mlp` and `cnn`, chains of layers whose channels are settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from phloem.client.goal import Batch
from phloem.compression.update import Schema
from phloem.config import ModelConfig
from phloem.errors import ConfigError
from phloem.masks import check_layout
from phloem.seeds import generator
from phloem.submodel import Layout, Sizes, chain_layout

Loss = Callable[[nn.Module, Batch], torch.Tensor]

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


def in_turn(loss: Loss, inner: Sequence[Sizes], seed: int) -> Loss:
    """Return a loss that for each batch is that of one of the networks in `inner`, drawn by the seed.

    A network of the first channels is the whole with all others shut. So all widths stay good by themselves,
    which they do not if the wide ones only ever learn together with their other channels (ordered dropout:
    Horvath et al. 2021, FjORD, arXiv 2102.13451).
    """
    if len(inner) < 2:
        return loss
    rng = generator(seed, "widths")

    def of_one(module: nn.Module, batch: Batch) -> torch.Tensor:
        sizes = inner[int(rng.integers(len(inner)))]
        hooks = [module.get_submodule(layer).register_forward_hook(_Shut(count)) for layer, count in sizes]
        try:
            return loss(module, batch)
        finally:
            for hook in hooks:
                hook.remove()

    return of_one


@dataclass(frozen=True)
class _Shut:
    """Lets a layer's first channels through, and 0 for the others."""

    open: int

    def __call__(self, layer: nn.Module, inputs: object, output: torch.Tensor) -> torch.Tensor:
        if output.shape[1] <= self.open:
            return output
        gate = torch.arange(output.shape[1], device=output.device) < self.open
        return output * gate.reshape(-1, *[1] * (output.dim() - 2))
