"""The bytes of a range coder: how a stream is opened, and how it ends in as few as tell its last range."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from phloem.compression.kernels.coder import CODE, FULL_RANGE, HELD, LOW, RANGE, READ, WAITING, WRITTEN

RANGE_BITS = FULL_RANGE.bit_length() - 1
START_WORDS = RANGE_BITS // 16


def stream_of(state: NDArray[np.int64], words: NDArray[np.uint16]) -> bytes:
    """The stream of a coder that is at its end."""
    written = words[: state[WRITTEN]].astype(">u2").tobytes()
    held = [int(state[HELD])] if state[HELD] >= 0 else []
    waiting = int(state[WAITING])
    tail = int.from_bytes(np.array(held + [0xFFFF] * waiting, ">u2").tobytes())
    end, number = ending(int(state[LOW]), int(state[RANGE]))
    tail = (tail << RANGE_BITS) + number
    size = 2 * (len(held) + waiting)
    return (written + tail.to_bytes(size + 2 * START_WORDS))[: len(written) + size + end]


def opened(data: bytes) -> tuple[NDArray[np.int64], NDArray[np.uint16]]:
    """The state and the words with which to decode a stream."""
    words = np.frombuffer(data + b"\0" * (len(data) % 2), ">u2").astype(np.uint16)
    head = data[: 2 * START_WORDS].ljust(2 * START_WORDS, b"\0")
    return np.array([int.from_bytes(head), FULL_RANGE, START_WORDS], np.int64), words


def ends_here(state: NDArray[np.int64], words: NDArray[np.uint16], size: int) -> bool:
    """Whether a stream of so many bytes ends at this place, as an encoder would have ended it."""
    read = int(state[READ])
    last = words[max(read - START_WORDS, 0) : read].astype(">u2").tobytes()
    tail = int.from_bytes(last.ljust(2 * START_WORDS, b"\0"))
    end, number = ending((tail - int(state[CODE])) % FULL_RANGE, int(state[RANGE]))
    return size == 2 * (read - START_WORDS) + end and number % FULL_RANGE == tail


def ending(low: int, width: int) -> tuple[int, int]:
    """How many bytes end a stream, and the least number in [low, low + width) with zeros after so many bytes.

    The bytes follow from the width alone: so a stream's length follows from what it holds.
    """
    end = -(-(RANGE_BITS + 1 - width.bit_length()) // 8)
    zeros = RANGE_BITS - 8 * end
    return end, -(-low >> zeros) << zeros
