"""The entropy coder of `rdo`: one adaptive stream for a whole update.

`Encoder` and `Decoder` are the only objects of the codec that change, for a stream has a position. They are
made for one update and thrown away. An encoder can be marked and taken back: so a mode is tried for its true
price.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from numpy.typing import NDArray

from phloem.compression.kernels.coder import FULL_RANGE, HELD, RANGE, READ, WAITING, WRITTEN
from phloem.compression.kernels.decoding import decode_rows
from phloem.compression.kernels.encoding import MOST_WORDS, encode_rows
from phloem.compression.kernels.frequencies import Book, Costs, Finder, Starts, fresh_tables
from phloem.compression.kernels.side import decode_number, decode_signs, encode_number, encode_signs
from phloem.compression.kernels.tables import COUNT_BITS, PLAIN_MODELS
from phloem.compression.kernels.trellis import STATES
from phloem.compression.stream import RANGE_BITS, START_WORDS, ends_here, opened, stream_of
from phloem.errors import CorruptUpdate

Values = NDArray[np.float32]
Integers = NDArray[np.int32]

KINDS, BOOKS = 3, 2
"""Kinds of planes with models of their own: values, right factors, left factors. These two share tables."""

SIDE_MODELS = 1024
EVEN = 1 << 21 << COUNT_BITS
"""A model that knows nothing."""

DENSE = 0.0625
"""Sparser rows gain nothing from dependent quantization."""


class StreamFull(Exception):
    """The room given to an encoder is used up: the update would be larger than dense."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How values become integers: the `step`, and Lagrange's `price` of a bit in squared steps.

    Rows whose mean magnitude is `dense` steps or more are quantized dependently. With `whole`, rows whose
    values are not worth their bits together are written all the same.
    """

    step: float
    price: float
    dense: float = DENSE
    whole: bool = False

    @property
    def inverse(self) -> float:
        """Steps in one."""
        return 1 / self.step


@cache
def _fresh() -> tuple[Book, Starts, Finder, Costs]:
    book, starts, finder, costs = fresh_tables()
    each = (BOOKS, 1)
    return np.tile(book, each), np.tile(starts, each), np.tile(finder, each), np.tile(costs, each)


@dataclass(slots=True)
class _Learned:
    """What the coder has learned so far: tables for magnitudes, and models for decisions."""

    book: NDArray[np.uint32] = field(default_factory=lambda: _fresh()[0].copy())
    starts: NDArray[np.uint32] = field(default_factory=lambda: _fresh()[1].copy())
    models: NDArray[np.uint32] = field(default_factory=lambda: np.full(KINDS * PLAIN_MODELS, EVEN, np.uint32))
    side: NDArray[np.uint32] = field(default_factory=lambda: np.full(SIDE_MODELS, EVEN, np.uint32))
    costs: NDArray[np.float32] = field(default_factory=lambda: _fresh()[3].copy())

    def copy(self) -> _Learned:
        return _Learned(
            self.book.copy(), self.starts.copy(), self.models.copy(), self.side.copy(), self.costs.copy()
        )


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
    """A plane's kind, whether it is `relative`, and the activity of its columns to begin with.

    Where it is relative, a row counts for its columns by its magnitudes over its scale.
    """

    kind: int
    relative: bool
    start: float


@dataclass(frozen=True, slots=True)
class Written:
    """A plane that was written: its integers in half steps, if they were wanted, and the sums over it.

    `dependents` tells which rows were quantized dependently, `sums` is what `add_residues` makes.
    """

    halves: Integers
    dependents: NDArray[np.uint8]
    sums: NDArray[np.float64]


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
        # numba takes long to tell an enumeration's type
        encode_number(place, bits, int(value), self._learned.side, self._state, self._words)

    def rows(self, values: Values, scale: Scale, block: Block, keep: bool) -> Written:
        """Quantize and write rows; give what the decoder will see, the integers only with `keep`."""
        rows, columns = values.shape
        learned = self._learned
        halves = np.empty((rows if keep else 1, columns), np.int32)
        dependents = np.empty(rows, np.uint8)
        sums = np.zeros(5)
        activity = np.full(columns, block.start, np.float32)
        full = encode_rows(
            values, scale.inverse, scale.price, scale.dense, int(scale.whole), block.kind,
            int(block.relative), learned.models, learned.book, learned.starts, learned.costs,
            self._state, self._words, activity, activity.view(np.int32), np.empty(columns, np.uint8),
            np.empty((columns, STATES), np.int32), np.empty(columns, np.uint8), np.empty(columns, np.int32),
            halves, dependents, sums,
        )  # fmt: skip
        if full:
            raise StreamFull
        return Written(halves, dependents, sums)

    def signs(self, values: Values, size: float) -> None:
        """Write the signs of values, one bit each, and their common magnitude."""
        if self._state[WRITTEN] + self._state[WAITING] + values.size // 16 + MOST_WORDS > self._words.size:
            raise StreamFull
        self.number(-1, 32, int(np.array([size], np.float32).view(np.uint32)[0]))
        encode_signs(values, self._state, self._words)

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
        return stream_of(self._state, self._words)


class Decoder:
    """Reads what an `Encoder` wrote."""

    def __init__(self, data: bytes) -> None:
        """Begin at the start of a stream."""
        self._learned = _Learned()
        self._state, self._words = opened(data)
        self._size = len(data)
        self._finder = _fresh()[2].copy()

    def number(self, place: int, bits: int) -> int:
        """Read a number of so many bits."""
        value = int(decode_number(place, bits, self._learned.side, self._state, self._words))
        self._check_place()
        return value

    def rows(self, shape: tuple[int, int], block: Block) -> tuple[Integers, NDArray[np.uint8]]:
        """Read rows, in half steps, and which of them were quantized dependently."""
        halves = np.empty(shape, np.int32)
        dependents = np.empty(shape[0], np.uint8)
        activity = np.full(shape[1], block.start, np.float32)
        learned = self._learned
        bad = decode_rows(
            block.kind, int(block.relative), learned.models, learned.book, learned.starts, self._finder,
            self._state, self._words, activity, activity.view(np.int32), np.empty(shape[1], np.uint8),
            dependents, halves,
        )  # fmt: skip
        if bad:
            raise CorruptUpdate("A quantized value is larger than any encoder writes.")
        self._check_place()
        return halves, dependents

    def signs(self, shape: tuple[int, int]) -> Values:
        """Invert `Encoder.signs`."""
        size = np.array([self.number(-1, 32)], np.uint32).view(np.float32)[0]
        if not 0 <= size < np.inf:
            raise CorruptUpdate(f"A magnitude should be finite and not negative. Found {size}.")
        values = np.empty(shape, np.float32)
        decode_signs(values, size, self._state, self._words)
        self._check_place()
        return values

    @property
    def shifts(self) -> int:
        """Words read since the start, the first ones not counted."""
        return int(self._state[READ]) - START_WORDS

    def finish(self) -> None:
        """Check that the stream ends here, and ends as an encoder would have ended it.

        Raises:
            CorruptUpdate: it does not.
        """
        if not ends_here(self._state, self._words, self._size):
            raise CorruptUpdate(
                f"A stream should end with its values. Found {self._size} bytes, or other last ones."
            )

    def _check_place(self) -> None:
        if self._state[READ] > self._words.size + START_WORDS:
            raise CorruptUpdate(
                f"The stream should hold more values. Found its end after {self._size} bytes."
            )
