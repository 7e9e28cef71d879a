"""Packing unsigned integers of a few bits each, without a bit between them.

Layout for up to 8 bits: symbol `i` occupies the bits `i * bits` onwards, lowest bit first. Wider symbols
are two streams, the low bytes of all of them and then the rest: high bits repeat, low ones do not, and
whatever compresses the bytes afterwards likes them apart.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from phloem.errors import CorruptUpdate

Unsigned = NDArray[np.unsignedinteger[Any]]

BYTE = 8


def dtype_of(bits: int) -> type[np.unsignedinteger[Any]]:
    """The narrowest NumPy type that holds `bits` bits."""
    for dtype in (np.uint8, np.uint16, np.uint32):
        if bits <= BYTE * np.dtype(dtype).itemsize:
            return dtype
    return np.uint64


def packed_bytes(count: int, bits: int) -> int:
    """The size of `count` packed symbols."""
    if bits > BYTE:
        return count + packed_bytes(count, bits - BYTE)
    return -(-count * bits // BYTE)


def pack(symbols: Unsigned, bits: int) -> bytes:
    """Pack a one-dimensional array whose values are below `2 ** bits`."""
    if bits > BYTE:
        low = symbols.astype(np.uint8)
        high = (symbols >> BYTE).astype(dtype_of(bits - BYTE))
        return low.tobytes() + pack(high, bits - BYTE)
    if bits == BYTE:
        return symbols.astype(np.uint8, copy=False).tobytes()
    if bits == 1:
        return np.packbits(symbols.astype(np.uint8, copy=False), bitorder="little").tobytes()
    octets = np.zeros(-(-symbols.size // BYTE) * BYTE, np.uint8)
    octets[: symbols.size] = symbols
    # Eight symbols move together in three steps, all groups at once: 8 and 8 bits, 16 and 16, 32 and 32.
    pairs = octets.view("<u2")
    pairs = pairs & 0xFF | pairs >> BYTE << bits
    fours = pairs.view("<u4")
    fours = fours & 0xFFFF | fours >> 2 * BYTE << 2 * bits
    eights = fours.view("<u8")
    eights = eights & 0xFFFFFFFF | eights >> 4 * BYTE << 4 * bits
    packed = eights.view(np.uint8).reshape(-1, BYTE)[:, :bits].tobytes()
    return packed[: packed_bytes(symbols.size, bits)]


def pack_many(rows: Unsigned, bits: int) -> NDArray[np.uint8]:
    """Pack each row of a matrix by itself, all at once; one row of bytes each."""
    height, count = rows.shape
    if bits > BYTE:
        high = (rows >> BYTE).astype(dtype_of(bits - BYTE))
        return np.concatenate([rows.astype(np.uint8), pack_many(high, bits - BYTE)], axis=1)
    groups = -(-count // BYTE)
    octets = np.zeros((height, groups * BYTE), np.uint8)
    octets[:, :count] = rows
    packed = np.frombuffer(pack(octets.ravel(), bits), np.uint8).reshape(height, groups * bits)
    return packed[:, : packed_bytes(count, bits)]


def unpack(data: bytes, count: int, bits: int) -> Unsigned:
    """Invert `pack`; `data` has exactly `packed_bytes(count, bits)` bytes.

    Raises:
        CorruptUpdate: the bits after the last symbol are not zero.
    """
    if bits > BYTE:
        high = unpack(data[count:], count, bits - BYTE).astype(dtype_of(bits))
        return np.frombuffer(data, np.uint8, count) | high << np.uint8(BYTE)
    if bits == 0 or count == 0:
        return np.zeros(count, np.uint8)
    spare = len(data) * BYTE - count * bits
    if spare and data[-1] >> BYTE - spare:
        raise CorruptUpdate(f"The last {spare} bits of packed symbols should be zero. Found {data[-1]:#04x}.")
    if bits == BYTE:
        return np.frombuffer(data, np.uint8)
    if bits == 1:
        return np.unpackbits(np.frombuffer(data, np.uint8), count=count, bitorder="little")
    groups = -(-count // BYTE)
    octets = np.zeros((groups, BYTE), np.uint8)
    octets[:, :bits] = np.frombuffer(data.ljust(groups * bits, b"\0"), np.uint8).reshape(groups, bits)
    eights = octets.view("<u8").ravel()
    eights = eights & (1 << 4 * bits) - 1 | eights >> 4 * bits << 4 * BYTE
    fours = eights.view("<u4")
    fours = fours & (1 << 2 * bits) - 1 | fours >> 2 * bits << 2 * BYTE
    pairs = fours.view("<u2")
    pairs = pairs & (1 << bits) - 1 | pairs >> bits << BYTE
    return pairs.view(np.uint8)[:count]
