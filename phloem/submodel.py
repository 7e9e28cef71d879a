"""Narrower networks cut out of a whole one: which channels a client has, and its slice of every tensor.

    whole update ─ narrow ─> the client's tensors ─ widen ─> whole update, zero where the client has none

A hidden layer's channels go together, wherever they occur: the layer's rows and bias, and the columns of the
layer that reads them. Nested channels: Diao et al. 2021, HeteroFL, arXiv 2010.01264; Horvath et al. 2021,
FjORD, arXiv 2102.13451. Windows: Alam et al. 2022, FedRolex, arXiv 2212.01548.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from phloem.compression.update import Schema, TensorSpec, Update

Sizes = tuple[tuple[str, int], ...]
"""How many channels each hidden layer has."""


@dataclass(frozen=True)
class Axis:
    """An axis of a tensor that runs over a layer's channels, each with `span` values in a row."""

    layer: str
    span: int = 1


@dataclass(frozen=True)
class Layout:
    """The hidden layers of a network with their channels, and where these lie in its tensors."""

    schema: Schema
    channels: Sizes
    axes: tuple[tuple[Axis | None, ...], ...]
    """For each tensor of the schema, what its axes run over; None for all that is never cut."""


@lru_cache(maxsize=16)
def chain_layout(schema: Schema) -> Layout:
    """Return the layout of dense or convolutional layers in a chain, each a `weight` and then a `bias`.

    The last layer keeps all of its outputs. A dense layer after a convolution reads each channel's map in a
    row, which is what flattening `(channels, height, width)` gives.
    """
    channels: dict[str, int] = {}
    axes: list[tuple[Axis | None, ...]] = []
    last = schema.tensors[-1].name.rpartition(".")[0]
    before = ""
    for tensor in schema.tensors:
        layer, _, kind = tensor.name.rpartition(".")
        own = None if layer == last else Axis(layer)
        if kind == "bias":
            axes.append((own,))
            continue
        reads = Axis(before, tensor.shape[1] // channels[before]) if before else None
        axes.append((own, reads, *[None] * (len(tensor.shape) - 2)))
        if own is not None:
            before, channels[layer] = layer, tensor.shape[0]
    return Layout(schema, tuple(channels.items()), tuple(axes))


def channels_of(width: float, whole: int) -> int:
    """Return how many channels a network of a width has in a layer of so many: one at least."""
    return max(1, math.floor(width * whole + 0.5))


@dataclass(frozen=True)
class Submodel:
    """A narrower network: of each hidden layer, the channels it has, in rising order."""

    layout: Layout
    kept: tuple[tuple[int, ...], ...]

    @property
    def sizes(self) -> dict[str, int]:
        """How many channels each hidden layer has."""
        return {layer: len(kept) for (layer, _), kept in zip(self.layout.channels, self.kept, strict=True)}

    @cached_property
    def schema(self) -> Schema:
        """The tensors of the narrower network."""
        return Schema(
            tuple(TensorSpec(name, tuple(map(np.size, places))) for name, places in self.places.items())
        )

    @cached_property
    def places(self) -> Mapping[str, tuple[NDArray[np.intp], ...]]:
        """For each tensor the index of its slice: one array an axis, ready to index with."""
        kept = {layer: np.asarray(k) for (layer, _), k in zip(self.layout.channels, self.kept, strict=True)}

        def along(length: int, axis: Axis | None) -> NDArray[np.intp]:
            if axis is None:
                return np.arange(length)
            places: NDArray[np.intp] = np.add.outer(kept[axis.layer] * axis.span, np.arange(axis.span))
            return places.ravel()

        return {
            tensor.name: np.ix_(*map(along, tensor.shape, axes))
            for tensor, axes in zip(self.layout.schema.tensors, self.layout.axes, strict=True)
        }

    @property
    def share(self) -> float:
        """Which share of the whole network's parameters it has."""
        return self.schema.parameters / self.layout.schema.parameters

    def narrow(self, update: Update) -> dict[str, NDArray[np.float32]]:
        """Return the slice of a whole update that belongs to this network; a copy."""
        return {name: update[name][place] for name, place in self.places.items()}

    def widen(self, update: Update) -> tuple[dict[str, NDArray[np.float32]], dict[str, NDArray[np.bool_]]]:
        """Return a whole update that is `update` where this network has values and 0 elsewhere, and where.

        `narrow` of it is `update` again.
        """
        whole = {t.name: np.zeros(t.shape, np.float32) for t in self.layout.schema.tensors}
        covered = {t.name: np.zeros(t.shape, np.bool_) for t in self.layout.schema.tensors}
        for name, place in self.places.items():
            whole[name][place], covered[name][place] = update[name], True
        return whole, covered


def all_of(layout: Layout) -> Submodel:
    """Return the submodel that is the whole network."""
    return Submodel(layout, tuple(tuple(range(whole)) for _, whole in layout.channels))
