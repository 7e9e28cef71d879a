"""The weighted mean of updates, one at a time: memory is that of one, whatever the number of clients."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from phloem.compression.update import Schema, Update


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
        with np.errstate(over="ignore"):
            return {
                name: np.add(tensor, scale * self._sum[name]).astype(np.float32)
                for name, tensor in model.items()
            }
