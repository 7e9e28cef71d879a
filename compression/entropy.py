"""The entropy coder of `rdo`: one adaptive stream for a whole update.

`Encoder` and `Decoder` are the only objects of the codec that change, for a stream has a position. They are
made for one update and thrown away. An encoder can be marked and taken back: so a mode is tried for its true
price.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from phloem.compression.kernels.coder import CODE, FULL_RANGE, HELD, LOW, RANGE, READ, WAITING, WRITTEN
from phloem.compression.kernels.decoding import decode_rows
from phloem.compression.kernels.encoding import MOST_WORDS, encode_rows
from phloem.compression.kernels.side import decode_number, encode_number
from phloem.compression.kernels.tables import COUNT_BITS, LEVELS, fresh_models, fresh_weights
from phloem.compression.kernels.trellis import GUESSED, STATES, fresh_chances
from phloem.errors import CorruptUpdate

Values = NDArray[np.float32]
Integers = NDArray[np.int32]

KINDS = 3
"""Kinds of planes with models of their own: values, right factors, left factors."""

SIDE_MODELS = 1024
RANGE_BITS = FULL_RANGE.bit_length() - 1
START_WORDS = RANGE_BITS // 16


DENSE = 0.25
"""Sparser rows gain nothing from dependent quantization."""

FIRST_CHANCES = fresh_chances(KINDS)


class StreamFull(Exception):
    """The room given to an encoder is used up: the update would be larger than dense."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How values become integers: the `step`, and Lagrange's `price` of a bit in squared steps.

    Rows whose mean magnitude is `dense` steps or more are quantized dependently.
    """

    step: float
    price: float
    dense: float = DENSE

    @property
    def inverse(self) -> float:
        """Steps in one."""
        return 1 / self.step


@dataclass(slots=True)
class _Learned:
    """What the coder has learned so far."""

    models: NDArray[np.uint32] = field(default_factory=lambda: fresh_models(KINDS))
    weights: NDArray[np.int32] = field(default_factory=lambda: fresh_weights(KINDS))
    side: NDArray[np.uint32] = field(
        default_factory=lambda: np.full(SIDE_MODELS, 1 << 21 << COUNT_BITS, np.uint32)
    )

    chances: NDArray[np.float32] = field(default_factory=FIRST_CHANCES.copy)

    def copy(self) -> _Learned:
        return _Learned(self.models.copy(), self.weights.copy(), self.side.copy(), self.chances.copy())


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in an encoder's stream.

    Words before it never change again: a carry stops at the word held back.
    """

    learned: _Learned
    state: NDArray[np.int64]
    words: NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class Block:
    """Rows of a plane that are coded together, and how.

    `activity` is that of the columns, which coding moves; `first` numbers the first row within its plane.
    """

    kind: int
    dependent: bool
    start: int
    first: int
    activity: NDArray[np.int64]


class Encoder:
    """Writes numbers and planes of values."""

    def __init__(self, room: int) -> None:
        """Make an encoder with room for so many bytes."""
        self._learned = _Learned()
        self._state = np.array([0, FULL_RANGE, -1, 0, 0], np.int64)
        self._words = np.empty(room // 2 + 2 * MOST_WORDS, np.uint16)

    def number(self, place: int, bits: int, value: int) -> None:
        """Write a number of so many bits, with the adaptive models at `place`, or raw if negative."""
        if self._state[WRITTEN] + self._state[WAITING] + MOST_WORDS > self._words.size:
            raise StreamFull
        encode_number(place, bits, value, self._learned.side, self._state, self._words)

    def rows(self, values: Values, scale: Scale, block: Block) -> Integers:
        """Quantize and write rows; give what the decoder will see, in half steps."""
        columns = values.shape[1]
        halves = np.empty(values.shape, np.int32)
        full = encode_rows(
            values, scale.inverse, scale.price, block.dependent, block.kind, block.start, block.first,
            self._learned.models, self._learned.weights, self._state, self._words, block.activity,
            self._learned.chances[block.kind], np.empty((LEVELS, 2, GUESSED), np.float32),
            np.empty(columns, np.uint8), np.empty((columns, STATES), np.int32),
            np.empty((columns, STATES), np.uint8), np.empty(columns, np.int32), halves,
        )  # fmt: skip
        if full:
            raise StreamFull
        return halves

    @property
    def bits(self) -> float:
        """Bits written so far, to a fraction."""
        return 16 * self.shifts + RANGE_BITS - math.log2(int(self._state[RANGE]))

    @property
    def room_bits(self) -> float:
        """The most bits there is room for."""
        return 16.0 * (self._words.size - 2 * MOST_WORDS)

    @property
    def shifts(self) -> int:
        """Words that have left the range so far; a decoder at the same place has read as many more."""
        state = self._state
        return int(state[WRITTEN] + state[WAITING] + (state[HELD] >= 0))

    def mark(self, start: Mark | None = None) -> Mark:
        """Remember this place; if it lies after `start`, also to come here again from there."""
        since = int(start.state[WRITTEN] if start else self._state[WRITTEN])
        return Mark(
            self._learned.copy(), self._state.copy(), self._words[since : self._state[WRITTEN]].copy()
        )

    def back(self, mark: Mark) -> None:
        """Go to a place again."""
        self._learned, self._state = mark.learned.copy(), mark.state.copy()
        written = self._state[WRITTEN]
        self._words[written - mark.words.size : written] = mark.words

    def finish(self) -> bytes:
        """The stream: the words that left the range, and the bytes that tell a number in what is left."""
        state = self._state
        written = self._words[: state[WRITTEN]].astype(">u2").tobytes()
        held = [int(state[HELD])] if state[HELD] >= 0 else []
        tail = int.from_bytes(np.array(held + [0xFFFF] * int(state[WAITING]), ">u2").tobytes())
        end, number = ending(int(state[LOW]), int(state[RANGE]))
        tail = (tail << RANGE_BITS) + number
        size = 2 * (len(held) + int(state[WAITING]) + START_WORDS)
        return (written + tail.to_bytes(size))[: 2 * self.shifts + end]


def ending(low: int, width: int) -> tuple[int, int]:
    """How many bytes end a stream, and the least number in [low, low + width) with zeros after so many bytes.

    The bytes follow from the width alone: so a stream's length follows from what it holds.
    """
    end = -(-(RANGE_BITS + 1 - width.bit_length()) // 8)
    zeros = RANGE_BITS - 8 * end
    return end, -(-low >> zeros) << zeros


class Decoder:
    """Reads what an `Encoder` wrote."""

    def __init__(self, data: bytes) -> None:
        """Begin at the start of a stream."""
        self._learned = _Learned()
        self._words = np.frombuffer(data + b"\0" * (len(data) % 2), ">u2").astype(np.uint16)
        head = data[: 2 * START_WORDS].ljust(2 * START_WORDS, b"\0")
        self._state = np.array([int.from_bytes(head), FULL_RANGE, START_WORDS], np.int64)
        self._size = len(data)

    def number(self, place: int, bits: int) -> int:
        """Read a number of so many bits."""
        value = int(decode_number(place, bits, self._learned.side, self._state, self._words))
        self._check_place()
        return value

    def rows(self, shape: tuple[int, int], block: Block) -> Integers:
        """Read rows, in half steps."""
        halves = np.empty(shape, np.int32)
        bad = decode_rows(
            block.dependent, block.kind, block.start, block.first,
            self._learned.models, self._learned.weights, self._state, self._words, block.activity, halves,
        )  # fmt: skip
        if bad:
            raise CorruptUpdate("A quantized value is larger than any encoder writes.")
        self._check_place()
        return halves

    @property
    def shifts(self) -> int:
        """Words read since the start, the first ones not counted."""
        return int(self._state[READ]) - START_WORDS

    def finish(self) -> None:
        """Check that the stream ends here, and ends as an encoder would have ended it.

        Raises:
            CorruptUpdate: it does not.
        """
        read = int(self._state[READ])
        last = self._words[max(read - START_WORDS, 0) : read].astype(">u2").tobytes()
        tail = int.from_bytes(last.ljust(2 * START_WORDS, b"\0"))
        low = (tail - int(self._state[CODE])) % FULL_RANGE
        end, number = ending(low, int(self._state[RANGE]))
        if self._size != 2 * self.shifts + end or number % FULL_RANGE != tail:
            raise CorruptUpdate(
                f"A stream should end with its values. Found {self._size} bytes, or other last ones."
            )

    def _check_place(self) -> None:
        if self._state[READ] > self._words.size + START_WORDS:
            raise CorruptUpdate(
                f"The stream should hold more values. Found its end after {self._size} bytes."
            )
