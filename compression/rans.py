"""Entropy coding of symbols and positions, with models that adapt as they go.

The name is the field's for this place in a codec, where most have asymmetric numeral systems (J. Duda, 2013)
with tables. This one is a range coder with mixed contexts, as in M. Mahoney's PAQ: an update's rows and
columns differ in size and repeat each other's zeros, and it saves what tables would cost.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from phloem.compression.kernels.coder import FULL_RANGE
from phloem.compression.kernels.symbols import (
    MOST_WORDS,
    decode_symbols,
    encode_symbols,
    fresh_symbol_models,
    fresh_symbol_weights,
)
from phloem.compression.signal import Array, Bytes, Index, Spec, Symbols
from phloem.compression.stage import Seed
from phloem.compression.stream import ends_here, opened, stream_of
from phloem.errors import CorruptUpdate

LEAST_BYTES = 16
"""Smaller signals are not worth a stream."""

BYTE = 8
MOST_BITS = 16

RAW = 0
LENGTHS = 255
"""The first byte is 0 before raw bytes; else it tells the stream's length modulo this, and 1 more."""


@dataclass(frozen=True, slots=True)
class Rans:
    """Lossless; never more than one byte longer than what it gets, and mostly below the entropy of symbols.

    Symbols of up to 16 bits, and positions, each become one stream of bytes. Of symbols with more than 8 bits
    the upper ones are coded, and the lower 8, which are noise, left as they are.

    >>> from phloem.compression.codec import codec
    >>> str(codec("topk:0.01 | linear:4 | rans"))
    'topk:0.01 | linear:4 | rans'
    """

    name: ClassVar[str] = "rans"

    def plan(self, spec: Spec) -> tuple[Spec, ...] | None:
        """Symbols and positions become bytes."""
        if isinstance(spec, Symbols | Index) and spec.most_bytes >= LEAST_BYTES:
            narrow = isinstance(spec, Index) or spec.bits <= MOST_BITS
            return (Bytes(spec.most_bytes + 1),) if narrow else None
        return None

    def encode(
        self, array: Array, spec: Spec, warm: Array | None, seed: Seed
    ) -> tuple[list[Array], Array | None]:
        """Code, or leave as it is where that is shorter."""
        assert isinstance(spec, Symbols | Index)
        low, plane, bits = _apart(array, spec)
        stream = _encode(plane, bits, room=spec.most_bytes - len(low))
        data = bytes([RAW]) + spec.pack(array)
        if stream is not None and len(low) + len(stream) < spec.most_bytes:
            data = bytes([1 + len(stream) % LENGTHS]) + low + stream
        return [np.frombuffer(data, np.uint8)], None

    def decode(self, arrays: Sequence[Array], spec: Spec) -> Array:
        """Decode as many symbols as the spec has."""
        assert isinstance(spec, Symbols | Index)
        data = arrays[0].tobytes()
        flag, rest = data[:1], data[1:]
        if flag == bytes([RAW]):
            if len(rest) != spec.most_bytes:
                raise CorruptUpdate(f"A signal should have {spec.most_bytes} bytes. Found {len(rest)}.")
            return spec.unpack(rest)
        rows, bits = _shape(spec)
        noise = math.prod(rows) if isinstance(spec, Symbols) and spec.bits > BYTE else 0
        if len(rest) < noise or flag != bytes([1 + (len(rest) - noise) % LENGTHS]):
            raise CorruptUpdate(f"The first byte should tell the length, {len(rest)}. Found another.")
        plane = _decode(rest[noise:], rows, bits)
        if isinstance(spec, Symbols):
            return _together(rest[:noise], plane, spec)
        index = np.flatnonzero(plane)
        if index.size != spec.count:
            raise CorruptUpdate(f"There should be {spec.count} positions. Found {index.size}.")
        return index


def _shape(spec: Symbols | Index) -> tuple[tuple[int, int], int]:
    """The rows and columns of what is coded, and the bits of each symbol; what has no rows is one."""
    if isinstance(spec, Index):
        width = spec.width if 1 < spec.width <= spec.bound else spec.bound
        return (spec.bound // width, width), 1
    size, bits = math.prod(spec.shape), spec.bits - BYTE if spec.bits > BYTE else spec.bits
    width = math.prod(spec.shape[1:])
    return ((size // width, width) if width > 1 else (1, size)), bits


def _apart(array: Array, spec: Symbols | Index) -> tuple[bytes, NDArray[np.uint8], int]:
    """The bytes that are left as they are, and the plane that is coded, with its bits."""
    rows, bits = _shape(spec)
    if isinstance(spec, Index):
        plane = np.zeros(spec.bound, np.uint8)
        plane[array] = 1
        return b"", plane.reshape(rows), bits
    if spec.bits <= BYTE:
        return b"", array.astype(np.uint8, copy=False).reshape(rows), bits
    return array.astype(np.uint8).tobytes(), (array >> BYTE).astype(np.uint8).reshape(rows), bits


def _together(low: bytes, plane: NDArray[np.uint8], spec: Symbols) -> Array:
    """Invert `_apart` for symbols."""
    if not low:
        return plane.reshape(spec.shape)
    lower = np.frombuffer(low, np.uint8).astype(np.uint16)
    return (lower | plane.ravel().astype(np.uint16) << np.uint16(BYTE)).reshape(spec.shape)


def _encode(plane: NDArray[np.uint8], bits: int, room: int) -> bytes | None:
    """The stream; None where it would not fit."""
    state = np.array([0, FULL_RANGE, -1, 0, 0], np.int64)
    words = np.empty(room // 2 + MOST_WORDS + 1, np.uint16)
    columns = np.zeros(plane.shape[1], np.int64)
    models, weights = fresh_symbol_models(bits), fresh_symbol_weights(bits)
    if encode_symbols(plane, bits, models, weights, state, words, columns):
        return None
    return stream_of(state, words)


def _decode(data: bytes, shape: tuple[int, int], bits: int) -> NDArray[np.uint8]:
    """The symbols of a stream, which has to end with them."""
    state, words = opened(data)
    plane = np.empty(shape, np.uint8)
    columns = np.zeros(shape[1], np.int64)
    models, weights = fresh_symbol_models(bits), fresh_symbol_weights(bits)
    decode_symbols(plane, bits, models, weights, state, words, columns)
    if not ends_here(state, words, len(data)):
        raise CorruptUpdate(
            f"A stream should end with its symbols. Found {len(data)} bytes, or other last ones."
        )
    return plane
