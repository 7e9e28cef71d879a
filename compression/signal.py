"""What flows between the stages of a codec: arrays, and the specs that say what they are.

    Values    float32 of any shape
    Symbols   unsigned integers of a few bits, of any shape
    Index     strictly increasing positions
    Bytes     anything, of a length of which only the bound is known

A spec follows from the schema and the codec's own parameters, never from the wire. It sizes every
allocation: all but `Bytes` have one serialised size, and `Bytes` have a most.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phloem.compression import bits as packing
from phloem.compression import rice

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Values:
    """A float32 array; raw little-endian on the wire."""

    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many."""
        return math.prod(self.shape)

    @property
    def most_bytes(self) -> int:
        """The serialised size."""
        return 4 * self.size

    def pack(self, array: Array) -> bytes:
        """Serialise."""
        return array.astype("<f4", copy=False).tobytes()

    def pack_many(self, arrays: Array) -> NDArray[np.uint8]:
        """Serialise arrays that lie along a first axis, each to a row of bytes."""
        rows = np.ascontiguousarray(arrays, "<f4").reshape(len(arrays), self.size)
        return rows.view(np.uint8).reshape(len(arrays), self.most_bytes)

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

    def pack_many(self, arrays: Array) -> NDArray[np.uint8]:
        """Serialise arrays that lie along a first axis, each to a row of bytes."""
        return packing.pack_many(arrays.reshape(len(arrays), math.prod(self.shape)), self.bits)

    def unpack(self, data: bytes) -> Array:
        """Parse."""
        return packing.unpack(data, math.prod(self.shape), self.bits).reshape(self.shape)


@dataclass(frozen=True, slots=True)
class Index:
    """`count` strictly increasing int64 positions below `bound`; Rice-coded on the wire.

    They lie in rows of `width`, which entropy coders may look at.
    """

    count: int
    bound: int
    width: int = 1

    @classmethod
    def into(cls, spec: Values, count: int) -> Index:
        """`count` positions in a tensor."""
        return cls(count, spec.size, width=math.prod(spec.shape[1:]))

    @property
    def most_bytes(self) -> int:
        """The serialised size."""
        return rice.coded_bytes(self.count, self.bound)

    def pack(self, array: Array) -> bytes:
        """Serialise."""
        return rice.encode(array, self.bound)

    def pack_many(self, arrays: Array) -> NDArray[np.uint8]:
        """Serialise arrays that lie along a first axis, each to a row of bytes."""
        return rice.encode_many(arrays, self.bound)

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


Spec = Values | Symbols | Index | Bytes


def if_smaller(parts: tuple[Spec, ...], spec: Spec) -> tuple[Spec, ...] | None:
    """The parts that would replace a signal, or None where they are not smaller: what a `plan` gives."""
    return parts if sum(part.most_bytes for part in parts) < spec.most_bytes else None
