"""Error feedback: what compression lost this time is added next time.

F. Seide et al., "1-bit stochastic gradient descent", Interspeech 2014;
S. P. Karimireddy et al., "Error feedback fixes SignSGD", ICML 2019.
"""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, Protocol

import numpy as np

from phloem.compression.stage import Warm
from phloem.compression.text import Named
from phloem.compression.update import Update, norm
from phloem.errors import CodecError


class Feedback(Named, Protocol):
    """What a sender remembers around its codec. The receiver knows nothing of it."""

    def correct(self, update: Update, residual: Update | None, warm: Warm, /) -> Update:
        """What to encode in place of the update."""

    def remainder(self, update: Update, corrected: Update, decoded: Update, /) -> Update:
        """What the receiver did not get, to come later: the next residual."""

    def remember(self, update: Update, decoded: Update, warm: Warm, /) -> Warm:
        """What to see again beside the residual."""


@dataclass(frozen=True, slots=True)
class ErrorFeedback:
    """Encoder only: `corrected = update + decay * residual`, then `residual = corrected - decoded`.

    With `decay` 1 nothing is ever lost, only late; below 1 what is old fades. With `norm` the residual is
    never longer than so many times the update that has just been encoded: it is scaled down, and the excess
    is lost. Updates of zeros set no such bound.

    >>> from phloem.compression.codec import codec
    >>> str(codec("ef:norm=2 | topk:0.01"))
    'ef:norm=2 | topk:0.01'
    """

    name: ClassVar[str] = "ef"
    _: KW_ONLY
    decay: float = 1.0
    norm: float | None = None

    def __post_init__(self) -> None:
        if not 0.0 < self.decay <= 1.0:
            raise CodecError(
                f"`decay` of `ef` should be above 0 and at most 1. Found {self.decay}. "
                "Leave `ef` out to forget what was lost."
            )
        if self.norm is not None and not 0.0 < self.norm < math.inf:
            raise CodecError(
                f"`norm` of `ef` should be positive. Found {self.norm}. Leave it out to bound nothing."
            )

    def correct(self, update: Update, residual: Update | None, warm: Warm) -> Update:
        """Add what is still owed."""
        if residual is None:
            return update
        decay = np.float32(self.decay)
        return {name: np.asarray(tensor + decay * residual[name]) for name, tensor in update.items()}

    def remainder(self, update: Update, corrected: Update, decoded: Update) -> Update:
        """What the receiver did not get, or as much of it as is kept."""
        residual = difference(corrected, decoded)
        if self.norm is None:
            return residual
        most, length = self.norm * norm(update), norm(residual)
        if most == 0.0 or not length > most:
            return residual
        share = np.float32(most / length)
        return {name: np.asarray(tensor * share) for name, tensor in residual.items()}

    def remember(self, update: Update, decoded: Update, warm: Warm) -> Warm:
        """Nothing else."""
        return {}


def difference(corrected: Update, decoded: Update) -> Update:
    """What is left."""
    # NumPy makes a scalar of the difference of two arrays without axes; an update has none.
    return {name: np.asarray(tensor - decoded[name]) for name, tensor in corrected.items()}
