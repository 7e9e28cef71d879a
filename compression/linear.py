"""Uniform quantisation: every value becomes one of a few equally spaced levels around zero.

With `rounding=stochastic` it is unbiased, as QSGD: D. Alistarh et al., "QSGD: Communication-efficient SGD via
gradient quantization and encoding", NeurIPS 2017. One bit with the mean magnitude is signSGD with a scale:
J. Bernstein et al., "signSGD: compressed optimisation for non-convex problems", ICML 2018.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, Literal

import numpy as np

from phloem.compression.signal import Array, Spec, Symbols, Values
from phloem.compression.stage import Seed
from phloem.errors import CodecError, CorruptUpdate

BLOCK = 128
BITS = range(1, 9)

# Scales travel as the upper half of a float32. None is subnormal: no processor's mode may flush one to zero.
SCALE_BITS = 16
SMALLEST_SCALE, LARGEST_SCALE = 0x0080, 0x7F7F
ONE = np.uint16(0x3F80)
"""The scale 1: stands in where a group is all zero and anything may divide it."""


@dataclass(frozen=True, slots=True)
class Linear:
    """`bits` a value and a scale a group: nearest is off by half a step at most, stochastic by less than one.

    A group is a block of 128 values, a channel (first axis) or the whole tensor. A step is the group's
    largest magnitude over `2**(bits - 1) - 1`, and up to 1/128 more: scales are rounded up, nothing clips.
    One bit is the sign: times the mean magnitude (nearest), or the largest one (stochastic).

    >>> from phloem.compression.codec import codec
    >>> str(codec("linear:8,per=channel"))
    'linear:8,per=channel'
    """

    name: ClassVar[str] = "linear"
    bits: int
    _: KW_ONLY
    per: Literal["tensor", "channel", "block"] = "block"
    rounding: Literal["nearest", "stochastic"] = "nearest"

    def __post_init__(self) -> None:
        if self.bits not in BITS:
            raise CodecError(
                f"`bits` of `linear` should be in {BITS[0]}..{BITS[-1]}. Found {self.bits}. "
                "Use `fp16` for 16 bits, `dense` for 32."
            )

    def plan(self, spec: Spec) -> tuple[Spec, ...] | None:
        """Values become a scale a group, and symbols in the values' own shape."""
        if not isinstance(spec, Values):
            return None
        groups, _ = self._grid(spec.shape)
        return Symbols((groups,), SCALE_BITS), Symbols(spec.shape, self.bits)

    def encode(
        self, array: Array, spec: Spec, warm: Array | None, seed: Seed
    ) -> tuple[list[Array], Array | None]:
        """Scale, round, and count up from the lowest level."""
        return [parts[0] for parts in self.encode_many(array[None], spec, [seed])], None

    def encode_many(self, arrays: Array, spec: Spec, seeds: Sequence[Seed]) -> list[Array]:
        """The same for each of many."""
        assert isinstance(spec, Values)
        groups, width = self._grid(spec.shape)
        rows = _rows(arrays.reshape(len(arrays), spec.size), groups, width)
        scales = self._scales(rows, spec.size)
        symbols = self._symbols(rows, scales, seeds)
        return [scales, symbols.reshape(len(arrays), -1)[:, : spec.size].reshape(arrays.shape)]

    def decode(self, arrays: Sequence[Array], spec: Spec) -> Array:
        """Count back down and scale."""
        scales, symbols = arrays
        strange = scales[(scales != 0) & ((scales < SMALLEST_SCALE) | (scales > LARGEST_SCALE))]
        if strange.size:
            raise CorruptUpdate(
                f"A scale should be zero or positive, normal, finite. Found {strange[0]:#06x}."
            )
        return np.asarray(self.decode_many([scales[None], symbols[None]], spec)[0])

    def decode_many(self, arrays: Sequence[Array], spec: Spec) -> Array:
        """The same for each of many, whose scales are normal."""
        assert isinstance(spec, Values)
        scales, symbols = arrays
        groups, width = self._grid(spec.shape)
        rows = _rows(symbols.reshape(len(symbols), spec.size), groups, width).astype(np.float32)
        if self.bits == 1:
            rows += rows
            rows -= 1
        else:
            rows -= self._levels
        rows *= _as_float(scales)[:, :, None]
        return rows.reshape(len(symbols), -1)[:, : spec.size].reshape(symbols.shape)

    @property
    def _levels(self) -> np.float32:
        """The number of levels on each side of zero; one bit has none at zero."""
        return np.float32(max(1, (1 << self.bits - 1) - 1))

    def _grid(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """How many groups, and of how many values; the last one may be short."""
        size = math.prod(shape)
        if size == 0:
            return 0, 1
        if self.per == "block":
            return -(-size // BLOCK), BLOCK
        groups = shape[0] if self.per == "channel" and len(shape) > 1 else 1
        return groups, size // groups

    def _scales(self, rows: Array, size: int) -> Array:
        """One step a group, rounded up to the upper half of a float32."""
        _, groups, width = rows.shape
        if self.bits == 1 and self.rounding == "nearest":
            counts = np.full(groups, width)
            counts[-1:] -= groups * width - size
            # Converted first: a sum that converts as it goes may round otherwise when there are more rows.
            wanted = (np.abs(rows).astype(np.float64).sum(axis=2) / counts).astype(np.float32)
        else:
            wanted = np.abs(rows).max(axis=2, initial=0) / self._levels
        up = (wanted.view(np.uint32) + np.uint32(0xFFFF)) >> np.uint32(16)
        # At the end of float32's range the largest level would be infinite: there the scale is rounded down.
        most = (np.finfo(np.float32).max / self._levels).view(np.uint32) >> np.uint32(16)
        return np.where(wanted == 0, 0, np.clip(up, SMALLEST_SCALE, most)).astype(np.uint16)

    def _symbols(self, rows: Array, scales: Array, seeds: Sequence[Seed]) -> Array:
        """The number of each value's level, counted from the lowest."""
        if self.bits == 1 and self.rounding == "nearest":
            return (rows >= 0).astype(np.uint8)
        places = rows / _as_float(np.where(scales == 0, ONE, scales))[:, :, None]
        if self.bits == 1:
            places *= np.float32(0.5)
            places += np.float32(0.5)
        else:
            places += self._levels
        if self.rounding == "nearest":
            np.rint(places, out=places)
        else:
            for each, seed in zip(places, seeds, strict=True):
                each += np.random.default_rng(seed).random(each.shape, np.float32)
        highest = 1 if self.bits == 1 else 2 * self._levels
        # The conversion cuts the fraction off, which for numbers that are not negative is rounding down.
        return np.clip(places, 0, highest, out=places).astype(np.uint8)


def _rows(values: Array, groups: int, width: int) -> Array:
    """For each row one row a group, the last one filled up with zeros."""
    many, size = values.shape
    if size == groups * width:
        return values.reshape(many, groups, width)
    padded = np.zeros((many, groups * width), values.dtype)
    padded[:, :size] = values
    return padded.reshape(many, groups, width)


def _as_float(scales: Array) -> Array:
    return (scales.astype(np.uint32) << np.uint32(16)).view(np.float32)
