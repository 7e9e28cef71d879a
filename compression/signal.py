"""What flows between the stages of a codec: arrays, and the specs that say what they are.

    Values    float32 of any shape
    Symbols   unsigned integers of a few bits, of any shape
    Index     strictly increasing positions
    Bytes     anything, of a length that only its bound is known of

A spec follows from the schema and the codec's own parameters, never from the wire. It sizes every
allocation: all but `Bytes` have one serialised size, and `Bytes` have a most.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phloem.compression import bits as packing
from phloem.compression import rice
from phloem.errors import CorruptUpdate

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Values:
    """A float32 array; raw little-endian on the wire."""

    shape: tuple[int, ...]

    @property
    def most_bytes(self) -> int:
        """The serialised size."""
        return 4 * math.prod(self.shape)

    def pack(self, array: Array) -> bytes:
        """Serialise."""
        return array.astype("<f4", copy=False).tobytes()

    def unpack(self, data: bytes) -> Array:
        """Parse into an array that owns its memory."""
        return np.frombuffer(data, "<f4").astype(np.float32).reshape(self.shape)


@dataclass(frozen=True, slots=True)
class Symbols:
    """Unsigned integers below `2 ** bits`, in the narrowest NumPy type; bit-packed on the wire."""

    shape: tuple[int, ...]
    bits: int

    @property
    def most_bytes(self) -> int:
        """The serialised size."""
        return packing.packed_bytes(math.prod(self.shape), self.bits)

    def pack(self, array: Array) -> bytes:
        """Serialise."""
        return packing.pack(array.ravel(), self.bits)

    def unpack(self, data: bytes) -> Array:
        """Parse."""
        return packing.unpack(data, math.prod(self.shape), self.bits).reshape(self.shape)


@dataclass(frozen=True, slots=True)
class Index:
    """`count` strictly increasing int64 positions below `bound`; Rice-coded on the wire."""

    count: int
    bound: int

    @property
    def most_bytes(self) -> int:
        """The serialised size."""
        return rice.coded_bytes(self.count, self.bound)

    def pack(self, array: Array) -> bytes:
        """Serialise."""
        return rice.encode(array, self.bound)

    def unpack(self, data: bytes) -> Array:
        """Parse."""
        return rice.decode(data, self.count, self.bound)


@dataclass(frozen=True, slots=True)
class Bytes:
    """A one-dimensional uint8 array of at most `most_bytes`, as an entropy coder gives."""

    most_bytes: int

    def pack(self, array: Array) -> bytes:
        """Serialise."""
        return array.tobytes()

    def unpack(self, data: bytes) -> Array:
        """Parse."""
        return np.frombuffer(data, np.uint8)

    @property
    def length_bytes(self) -> int:
        """The size of a length that is at most `most_bytes`."""
        return -(-self.most_bytes.bit_length() // 8)


Spec = Values | Symbols | Index | Bytes


def join(specs: Sequence[Spec], arrays: Sequence[Array]) -> bytes:
    """Serialise the signals of one tensor: those of one size, then the `Bytes`.

    Each of the `Bytes` but the last has its length before it; the last one's follows from the whole.
    """
    parts = [spec.pack(array) for spec, array in zip(specs, arrays, strict=True)]
    order, variable = _order(specs)
    for i in variable[:-1]:
        parts[i] = len(parts[i]).to_bytes(_bytes(specs[i]).length_bytes, "little") + parts[i]
    return b"".join(parts[i] for i in order)


def split(specs: Sequence[Spec], data: bytes) -> list[Array]:
    """Invert `join`, and use up every byte.

    Raises:
        CorruptUpdate: too few bytes, too many, or bytes that no signal gives.
    """
    order, variable = _order(specs)
    arrays: dict[int, Array] = {}
    at = 0
    for i in order:
        size = specs[i].most_bytes
        if i in variable:
            size = len(data) - at
            if i != variable[-1]:
                start, at = at, at + _bytes(specs[i]).length_bytes
                size = int.from_bytes(data[start:at], "little")
            if size > specs[i].most_bytes:
                raise CorruptUpdate(f"A part should have at most {specs[i].most_bytes} bytes. Found {size}.")
        if at + size > len(data):
            raise CorruptUpdate(f"A payload should have {at + size} bytes or more. Found {len(data)}.")
        arrays[i] = specs[i].unpack(data[at : at + size])
        at += size
    if at != len(data):
        raise CorruptUpdate(f"A payload should have {at} bytes. Found {len(data)}.")
    return [arrays[i] for i in range(len(specs))]


def joined_bytes(specs: Sequence[Spec], arrays: Sequence[Array]) -> int:
    """The length of `join(specs, arrays)`, without the work where the specs tell it."""
    _, variable = _order(specs)
    fixed = sum(spec.most_bytes for spec in specs if not isinstance(spec, Bytes))
    lengths = sum(_bytes(specs[i]).length_bytes for i in variable[:-1])
    return fixed + lengths + sum(arrays[i].size for i in variable)


def most_joined_bytes(specs: Sequence[Spec]) -> int:
    """The most that `join` gives."""
    _, variable = _order(specs)
    return sum(s.most_bytes for s in specs) + sum(_bytes(specs[i]).length_bytes for i in variable[:-1])


def _order(specs: Sequence[Spec]) -> tuple[list[int], list[int]]:
    """The positions of all specs in the order on the wire, and of the variable ones alone."""
    variable = [i for i, spec in enumerate(specs) if isinstance(spec, Bytes)]
    return [i for i in range(len(specs)) if i not in variable] + variable, variable


def _bytes(spec: Spec) -> Bytes:
    assert isinstance(spec, Bytes)
    return spec
