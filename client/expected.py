"""What samples a model takes: their shape, their labels, and of codes how many there are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phloem.errors import DataError
from phloem.sources import Samples


@dataclass(frozen=True, slots=True)
class Expected:
    """The inputs and labels of a model; anything else is refused before torch would speak of an index."""

    input_shape: tuple[int, ...]
    classes: int
    codes: tuple[int, ...] = ()
    """Where inputs are codes, whole numbers from 0: how many there are, in all or for each column."""

    def check(self, samples: Samples) -> None:
        """Raise DataError unless the samples fit."""
        self.check_inputs(samples.x)
        y = samples.y
        if len(y) != len(samples.x):
            raise DataError(
                f"There should be a label for each of {len(samples.x)} samples. Found {len(y)}. "
                "Take inputs and labels from the same place."
            )
        if len(y) and not 0 <= int(y.min()) <= int(y.max()) < self.classes:
            raise DataError(
                f"Labels should lie in 0..{self.classes - 1}, the model's. Found {y.min()}..{y.max()}. "
                "Open the model with the number of classes of the data."
            )

    def check_inputs(self, x: NDArray[np.float32]) -> None:
        """Raise DataError unless the inputs fit."""
        if x.shape[1:] != self.input_shape or x.dtype != np.float32:
            raise DataError(
                f"Inputs should be float32 (n, {', '.join(map(str, self.input_shape))}). "
                f"Found {x.dtype} {x.shape}. Open the model with the input shape of the data."
            )
        if self.codes and len(x) and not ((x >= 0) & (x < np.asarray(self.codes))).all():
            raise DataError(
                f"Inputs should be codes from 0 and below {', '.join(map(str, self.codes))}. "
                f"Found {x.min():g}..{x.max():g}. Set `model.rows`, or the number of classes, to what "
                "the data have."
            )
