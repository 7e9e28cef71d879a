"""Rice coding of sorted positions: which `count` of `bound` places are taken.

The gaps between neighbours are split: their low bits are packed, their high parts are written in unary.
The gaps sum to less than `bound`, so the unary part has a length known beforehand (as in Elias-Fano
coding, which costs the same), and positions rebuilt from gaps increase strictly whatever the bytes say.

R. F. Rice, "Some practical universal noiseless coding techniques", JPL Publication 79-22, 1979.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from phloem.compression.bits import dtype_of, pack, pack_many, packed_bytes, unpack
from phloem.errors import CorruptUpdate


@lru_cache(maxsize=4096)
def low_bits(count: int, bound: int) -> int:
    """How many bits of each gap are packed: the number that makes the whole shortest."""
    slack = bound - count
    return min(range(slack.bit_length() + 1), key=lambda low: (count * low + (slack >> low), low))


def coded_bytes(count: int, bound: int) -> int:
    """The size of `count` positions below `bound`; it does not depend on which they are."""
    low = low_bits(count, bound)
    return packed_bytes(count, low) + packed_bytes(_unary_bits(count, bound, low), 1)


def encode(positions: NDArray[np.int64], bound: int) -> bytes:
    """Code strictly increasing positions, each in `0 .. bound - 1`."""
    count = positions.size
    low = low_bits(count, bound)
    gaps = np.diff(positions, prepend=-1) - 1
    unary = np.zeros(_unary_bits(count, bound, low), np.uint8)
    unary[np.cumsum(gaps >> low) + np.arange(count)] = 1
    return pack((gaps & (1 << low) - 1).astype(dtype_of(low)), low) + pack(unary, 1)


def encode_many(rows: NDArray[np.int64], bound: int) -> NDArray[np.uint8]:
    """Code each row of positions by itself, all at once; one row of bytes each."""
    height, count = rows.shape
    low = low_bits(count, bound)
    gaps = np.diff(rows, prepend=-1, axis=1) - 1
    unary = np.zeros((height, _unary_bits(count, bound, low)), np.uint8)
    np.put_along_axis(unary, np.cumsum(gaps >> low, axis=1) + np.arange(count), np.uint8(1), axis=1)
    lows = (gaps & (1 << low) - 1).astype(dtype_of(low))
    return np.concatenate([pack_many(lows, low), pack_many(unary, 1)], axis=1)


def decode(data: bytes, count: int, bound: int) -> NDArray[np.int64]:
    """Invert `encode`; `data` has exactly `coded_bytes(count, bound)` bytes.

    Raises:
        CorruptUpdate: not `count` positions, or one of them is not below `bound`.
    """
    low = low_bits(count, bound)
    split = packed_bytes(count, low)
    lows = unpack(data[:split], count, low).astype(np.int64)
    unary = unpack(data[split:], _unary_bits(count, bound, low), 1)
    stops = np.flatnonzero(unary)
    if stops.size != count:
        raise CorruptUpdate(f"There should be {count} positions. Found {stops.size}.")
    highs = np.diff(stops, prepend=-1) - 1
    positions = np.cumsum((highs << low | lows) + 1) - 1
    if count and positions[-1] >= bound:
        raise CorruptUpdate(f"Positions should be below {bound}. Found {positions[-1]}.")
    return positions


def _unary_bits(count: int, bound: int, low: int) -> int:
    return count + (bound - count >> low)
