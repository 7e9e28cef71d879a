"""A client's stream of samples; the position in it is a value that the caller keeps.

Nothing is hidden in the stream: after a crash, or when an instruction comes twice, the
same position gives the same samples. Predict, score and learn in this order: the caller
must not learn what it has yet to predict.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from phloem.errors import ConfigError
from phloem.sources import Samples


@dataclass(frozen=True, eq=False, slots=True)
class Stream:
    """Samples in order of arrival, and what happens when they are used up.

    `repeat` begins again; `idle` delivers what is left, then nothing. A position counts
    the samples delivered since the start, over all passes.
    """

    samples: Samples
    when_dry: Literal["repeat", "idle"] = "repeat"

    def next(self, position: int, count: int) -> tuple[Samples, int]:
        """Return `count` samples from `position` on, fewer where an idle stream ends, and the new position.

        Raises:
            ConfigError: `position` or `count` is negative.
        """
        if position < 0 or count < 0:
            raise ConfigError(
                f"A stream's position and count should be 0 or more. Found {position} and {count}. "
                "Begin at 0 and pass on the position that `next` returned."
            )
        length = len(self.samples)
        if self.when_dry == "idle" or not length:
            end = min(position + count, max(length, position))
            return self.samples.take(slice(position, end)), end
        start = position % length
        if start + count <= length:
            return self.samples.take(slice(start, start + count)), position + count
        return self.samples.take(np.arange(start, start + count) % length), position + count
