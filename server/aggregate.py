"""What a round's updates come to: their weighted mean, or what another rule makes of them.

The mean takes updates one at a time: memory is that of one, whatever the number of clients. Clipping and
every other rule compare updates, so they hold all of a round, decoded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from phloem.compression.update import Schema, Update, norm
from phloem.config import ServerConfig
from phloem.server.strategy_rules import Tensors, step_of


@dataclass
class StreamingMean:
    """A running weighted sum in float64.

    The order of `add` decides the last bits, so callers add in the sorted order of client ids.
    """

    schema: Schema
    weight: float = 0.0
    _sum: dict[str, NDArray[np.float64]] = field(init=False)

    def __post_init__(self) -> None:
        """Start from nothing."""
        self._sum = {t.name: np.zeros(t.shape) for t in self.schema.tensors}

    def add(self, update: Update, weight: float) -> None:
        """Add `weight * update`."""
        for name, total in self._sum.items():
            total += np.multiply(update[name], weight, dtype=np.float64)
        self.weight += weight

    def apply_to(self, model: Update, learning_rate: float) -> dict[str, NDArray[np.float32]]:
        """Return `model + learning_rate * mean`, or a copy of `model` if nothing was added; may overflow."""
        scale = learning_rate / self.weight if self.weight > 0 else 0.0
        return move(model, self._sum, scale)


@dataclass
class Gathering:
    """The updates of a round, as they come; add them in the sorted order of client ids."""

    schema: Schema
    config: ServerConfig
    _mean: StreamingMean = field(init=False)
    _kept: list[tuple[Update, float]] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        """Start from nothing."""
        self._mean = StreamingMean(self.schema)

    def add(self, update: Update, samples: int) -> None:
        """Take an update that was learned from so many samples."""
        weight = min(samples, self.config.weight_cap or samples)
        if self.config.clip or self.config.aggregation != "fedavg":
            self._kept.append((update, weight))
        else:
            self._mean.add(update, weight)

    def apply_to(
        self, model: Update, memory: Tensors, round_number: int
    ) -> tuple[dict[str, NDArray[np.float32]], Tensors]:
        """Return the model that the updates lead to, which may overflow, and what the rule remembers."""
        rate, updates = (
            self.config.learning_rate,
            clipped([update for update, _ in self._kept], self.config.clip),
        )
        weights = [weight for _, weight in self._kept]
        if updates and self.config.aggregation != "fedavg":
            step, memory = step_of(self.config, updates, weights, memory, round_number)
            return move(model, step, rate), memory
        for update, weight in zip(updates, weights, strict=True):
            self._mean.add(update, weight)
        return self._mean.apply_to(model, rate), memory


def clipped(updates: Sequence[Update], factor: float) -> list[Update]:
    """Return the updates, none longer than `factor` times the median length; 0 leaves them as they are.

    A bound that the round itself gives: it follows training, and fewer than half of the updates cannot move
    it beyond the others' lengths.
    """
    if not factor or not updates:
        return list(updates)
    lengths = [norm(update) for update in updates]
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
