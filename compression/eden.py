"""EDEN: a random rotation makes any values look Gaussian, and a Gaussian's best few levels are known.

S. Vargaftik et al., "EDEN: communication-efficient and robust distributed mean estimation for federated
learning", ICML 2022; one bit is DRIVE: S. Vargaftik et al., NeurIPS 2021.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, Literal

import numpy as np

from phloem.compression import draw, gaussian, scale
from phloem.compression.kernels.hadamard import rotate, rotate_back, words_needed
from phloem.compression.kernels.levels import look_up, matches, nearest, squares
from phloem.compression.signal import Array, Spec, Symbols, Values, if_smaller
from phloem.compression.stage import Seed
from phloem.errors import CodecError, ConfigError

BLOCK = 1 << 13
"""Values rotated together: they fit the fastest cache, and a scale for so many costs next to nothing."""

LARGEST = 1e38
"""The longest block that is carried: what its sum could overflow to lies three times above."""


@dataclass(frozen=True, slots=True)
class Eden:
    """`bits` a value, after a rotation drawn anew for each tensor; a scale for each 8192 values.

    On Gaussian values of any variance, and nearly so on any others, the squared error over the square is at
    1, 2, 3, 4 bits .363, .117, .0345, .0095. With `scale=unbiased` the expected result is the values
    themselves, and the error .571, .133, .0358, .0096. Tensors that would not get smaller pass.

    >>> from phloem.compression.codec import codec
    >>> str(codec("eden:2,scale=unbiased"))
    'eden:2,scale=unbiased'
    """

    name: ClassVar[str] = "eden"
    bits: int
    _: KW_ONLY
    scale: Literal["nearest", "unbiased"] = "nearest"

    def __post_init__(self) -> None:
        if self.bits not in gaussian.BITS:
            raise CodecError(
                f"`bits` of `eden` should be in {gaussian.BITS[0]}..{gaussian.BITS[-1]}. Found {self.bits}."
            )

    def plan(self, spec: Spec) -> tuple[Spec, ...] | None:
        """Values become the rotation's seed, scales, and symbols in the values' own shape."""
        if not isinstance(spec, Values):
            return None
        count = math.prod(spec.shape)
        groups = -(-count // _block(count)) if count else 0  # not listed: plans are made for 2**40
        parts = (draw.SEED, scale.scales(groups), Symbols(spec.shape, self.bits))
        return if_smaller(parts, spec)

    def encode(
        self, array: Array, spec: Spec, warm: Array | None, seed: Seed
    ) -> tuple[list[Array], Array | None]:
        """Rotate, and take the nearest levels; then scale these, and not the values, as suits the whole."""
        own_seed = draw.seed_of(seed)
        values = array.ravel().copy()
        self._rotate(values, own_seed, rotate)
        symbols = np.zeros(values.size, np.uint8)
        factors = []
        for start, end in _groups(values.size):
            power = squares(values, start, end)
            if not power < LARGEST**2:
                raise ConfigError(
                    f"`eden` carries blocks of a length below {LARGEST:.0e}. Found {math.sqrt(power):g}. "
                    "Look for what diverged."
                )
            factors.append(self._quantise(values, start, end, power, symbols))
        return [own_seed, scale.write(np.array(factors)), symbols.reshape(array.shape)], None

    def decode(self, arrays: Sequence[Array], spec: Spec) -> Array:
        """Look the levels up, and rotate back."""
        own_seed, factors, symbols = arrays
        codes = symbols.ravel()
        values = np.empty(codes.size, np.float32)
        levels = gaussian.levels(self.bits)
        for (start, end), factor in zip(_groups(codes.size), scale.read(factors), strict=True):
            look_up(codes, levels, start, end, factor, values)
        self._rotate(values, own_seed, rotate_back)
        return values.reshape(symbols.shape)

    def _rotate(self, values: Array, seed: Array, turn: Callable[..., None]) -> None:
        """Rotate in place, there or back."""
        block = _block(values.size)
        words = draw.numbers(seed, words_needed(values.size, block))
        turn(values, block, np.float32(1 / math.sqrt(block)), words)

    def _quantise(self, values: Array, start: int, end: int, power: float, symbols: Array) -> float:
        """Set the symbols of one group; give its scale."""
        deviation = math.sqrt(power / (end - start))
        borders, levels = gaussian.borders(self.bits), gaussian.levels(self.bits)
        nearest(values, start, end, borders * np.float32(deviation), self.bits, symbols)
        product, square = matches(values, symbols, levels, start, end)
        if product <= 0.0:  # only zeros, or nearly so
            return 0.0
        return power / product if self.scale == "unbiased" else product / square


def _block(count: int) -> int:
    """The length of a rotation: the largest power of two that fits."""
    return min(BLOCK, 1 << count.bit_length() - 1)


def _groups(count: int) -> list[tuple[int, int]]:
    """What is scaled together, as (start, end): the values that took part in the same last rotation."""
    if count == 0:
        return []
    block = _block(count)
    starts = [*range(0, count - block, block), count - block]
    return list(zip(starts, [*starts[1:], count], strict=True))
