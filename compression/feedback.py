"""Error feedback: what compression lost this time is added next time.

F. Seide et al., "1-bit stochastic gradient descent", Interspeech 2014;
S. P. Karimireddy et al., "Error feedback fixes SignSGD", ICML 2019.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import numpy as np

from phloem.compression.update import Update
from phloem.errors import CodecError


@dataclass(frozen=True, slots=True)
class ErrorFeedback:
    """Encoder only: `corrected = update + decay * residual`, then `residual = corrected - decoded`.

    With `decay` 1 nothing is ever lost, only late; below 1 what is old fades.
    """

    name: ClassVar[str] = "ef"
    _: KW_ONLY
    decay: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 < self.decay <= 1.0:
            raise CodecError(
                f"`decay` of `ef` should be above 0 and at most 1. Found {self.decay}. "
                "Leave `ef` out to forget what was lost."
            )

    def correct(self, update: Update, residual: Update | None) -> Update:
        """Add what is still owed."""
        if residual is None:
            return update
        decay = np.float32(self.decay)
        return {name: np.asarray(tensor + decay * residual[name]) for name, tensor in update.items()}

    def remainder(self, corrected: Update, decoded: Update) -> Update:
        """What the receiver did not get."""
        # NumPy makes a scalar of the difference of two arrays without axes; an update has none.
        return {name: np.asarray(tensor - decoded[name]) for name, tensor in corrected.items()}
