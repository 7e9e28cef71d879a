"""What a round's updates come to: their weighted mean, or what another rule makes of them.

The mean takes updates one at a time: memory is that of one, whatever the number of clients. Clipping and
every other rule compare updates, so they hold all of a round, decoded. Where clients have parts of the
network each weight's mean is over those that have it, and a weight that nobody had stays (Diao et al. 2021,
HeteroFL, arXiv 2010.01264).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from phloem.compression.update import Schema, Update, norm
from phloem.config import ServerConfig
from phloem.server.strategy_rules import Tensors, step_of
from phloem.submodel import Submodel


@dataclass
class StreamingMean:
    """A running weighted sum in float64.

    The order of `add` decides the last bits, so callers add in the sorted order of client ids.
    """

    schema: Schema
    weight: float = 0.0
    _sum: dict[str, NDArray[np.float64]] = field(init=False)
    _more: dict[str, NDArray[np.float64]] = field(default_factory=dict, init=False)
    """What parts of the network add to the weight, value by value; empty until one was added."""

    def __post_init__(self) -> None:
        """Start from nothing."""
        self._sum = {t.name: np.zeros(t.shape) for t in self.schema.tensors}

    def add(self, update: Update, weight: float, part: Submodel | None = None) -> None:
        """Add `weight * update`, which may be that of a part of the network."""
        if part is not None:
            self._add_part(update, weight, part)
            return
        for name, total in self._sum.items():
            total += np.multiply(update[name], weight, dtype=np.float64)
        self.weight += weight

    def _add_part(self, update: Update, weight: float, part: Submodel) -> None:
        self._more = self._more or {name: np.zeros(total.shape) for name, total in self._sum.items()}
        for name, place in part.places.items():
            self._sum[name][place] += np.multiply(update[name], weight, dtype=np.float64)
            self._more[name][place] += weight

    def mean(self) -> dict[str, NDArray[np.float64]]:
        """Return each value's mean over the updates that have it; 0 where none has."""
        found = {}
        for name, total in self._sum.items():
            weight = np.add(self.weight, self._more.get(name, np.zeros(total.shape)))
            found[name] = np.divide(total, weight, out=np.zeros(total.shape), where=weight > 0)
        return found

    def apply_to(self, model: Update, learning_rate: float) -> dict[str, NDArray[np.float32]]:
        """Return `model + learning_rate * mean`, or a copy of `model` if nothing was added; may overflow."""
        if self._more:
            return move(model, self.mean(), learning_rate)
        scale = learning_rate / self.weight if self.weight > 0 else 0.0
        return move(model, self._sum, scale)


@dataclass
class Gathering:
    """The updates of a round, as they come; add them in the sorted order of client ids."""

    schema: Schema
    config: ServerConfig
    _mean: StreamingMean = field(init=False)
    _kept: list[tuple[Update, float, Submodel | None]] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        """Start from nothing."""
        self._mean = StreamingMean(self.schema)

    def add(self, update: Update, samples: int, part: Submodel | None = None) -> None:
        """Take an update, of the network or a part of it, that was learned from so many samples."""
        weight = min(samples, self.config.weight_cap or samples)
        if self.config.clip or self.config.aggregation != "fedavg":
            self._kept.append((update, weight, part))
        else:
            self._mean.add(update, weight, part)

    def apply_to(
        self, model: Update, memory: Tensors, round_number: int
    ) -> tuple[dict[str, NDArray[np.float32]], Tensors]:
        """Return the model that the updates lead to, which may overflow, and what the rule remembers."""
        rate, parts = self.config.learning_rate, [part for _, _, part in self._kept]
        shares = [1.0 if part is None else part.share for part in parts]
        updates = clipped([update for update, _, _ in self._kept], self.config.clip, shares)
        weights = [weight for _, weight, _ in self._kept]
        all_whole = not any(parts)
        if updates and self.config.aggregation != "fedavg" and all_whole:
            step, memory = step_of(self.config, updates, weights, memory, round_number)
            return move(model, step, rate), memory
        for update, weight, part in zip(updates, weights, parts, strict=True):
            self._mean.add(update, weight, part)
        if updates and self.config.aggregation != "fedavg":  # which is a server optimizer: it steps by a mean
            step, memory = step_of(self.config, [self._mean.mean()], [1.0], memory, round_number)
            return move(model, step, rate), memory
        return self._mean.apply_to(model, rate), memory


def clipped(updates: Sequence[Update], factor: float, shares: Sequence[float] = ()) -> list[Update]:
    """Return the updates, none longer than `factor` times the median length; 0 leaves them as they are.

    A bound that the round itself gives: it follows training, and fewer than half of the updates cannot move
    it beyond the others' lengths. An update of a share of the network is as long as one of all of it whose
    values are as large: lengths are over the root of the share.
    """
    if not factor or not updates:
        return list(updates)
    shares = shares or [1.0] * len(updates)
    lengths = [norm(update) / math.sqrt(share) for update, share in zip(updates, shares, strict=True)]
    longest = factor * float(np.median(lengths))
    return [
        update
        if length <= longest
        else {name: t * np.float32(longest / length) for name, t in update.items()}
        for update, length in zip(updates, lengths, strict=True)
    ]


def move(
    model: Update, step: Mapping[str, NDArray[np.float64]], scale: float
) -> dict[str, NDArray[np.float32]]:
    """Return `model + scale * step`, rounded once; may overflow."""
    with np.errstate(over="ignore"):
        return {name: np.add(t, scale * step[name]).astype(np.float32) for name, t in model.items()}
