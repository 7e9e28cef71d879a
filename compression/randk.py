"""Random sparsification: a few values travel, chosen by a seed, so that no position does.

J. Konečný et al., "Federated learning: strategies for improving communication efficiency", 2016; S. U. Stich,
J.-B. Cordonnier and M. Jaggi, "Sparsified SGD with memory", NeurIPS 2018.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, Literal

import numpy as np

from phloem.compression import draw, fraction
from phloem.compression.kept import scatter
from phloem.compression.signal import Array, Spec, Values
from phloem.compression.stage import Seed
from phloem.errors import ConfigError


@dataclass(frozen=True, slots=True)
class RandK:
    """Keeps a random `fraction`, rounded up; the rest becomes 0. A seed of 4 bytes stands for the positions.

    What it keeps is exact, or with `scale=unbiased` larger by one over the fraction, so that the expected
    result is the values themselves. Behind `ef` leave it exact: scaled errors add up.

    >>> from phloem.compression.codec import codec
    >>> str(codec("randk:0.1,scale=unbiased"))
    'randk:0.1,scale=unbiased'
    """

    name: ClassVar[str] = "randk"
    fraction: float
    _: KW_ONLY
    scale: Literal["nearest", "unbiased"] = "nearest"

    def __post_init__(self) -> None:
        fraction.check(self.name, self.fraction)

    def plan(self, spec: Spec) -> tuple[Spec, ...] | None:
        """Values become a seed, and the values that it chooses."""
        if not isinstance(spec, Values):
            return None
        return draw.SEED, Values((fraction.of(self.fraction, spec.size),))

    def encode(
        self, array: Array, spec: Spec, warm: Array | None, seed: Seed
    ) -> tuple[list[Array], Array | None]:
        """Choose."""
        own_seed = draw.seed_of(seed)
        count = fraction.of(self.fraction, array.size)
        values = array.ravel()[chosen(own_seed, count, array.size)]
        if self.scale == "unbiased" and count:
            with np.errstate(over="ignore"):
                values *= np.float32(array.size / count)
            if not np.isfinite(values).all():
                raise ConfigError(
                    f"`randk` scales by {array.size / count:g}, and float32 has no room for it. "
                    f"Found {np.abs(array).max():g}. Look for what diverged."
                )
        return [own_seed, values], None

    def decode(self, arrays: Sequence[Array], spec: Spec) -> Array:
        """Choose the same places again."""
        assert isinstance(spec, Values)
        own_seed, values = arrays
        return scatter(chosen(own_seed, values.size, spec.size), values, spec.shape)


def chosen(seed: Array, count: int, size: int) -> Array:
    """`count` of `size` positions, each set as likely as another: where the smallest random numbers are."""
    keys = draw.numbers(seed, size)
    if count == 0:
        return np.zeros(0, np.int64)
    return np.flatnonzero(keys <= np.partition(keys, count - 1)[count - 1])
