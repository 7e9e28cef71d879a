"""Frequencies of magnitudes, one table for each context, that follow what is coded.

The context of a value is the magnitude to expect there, in half octaves, and the quantizer it meets. Each
table begins as that of Laplace values of such a mean, and is worked out anew from its counts after 4 more
values, then 8 more, and so on; so a table costs nothing on the wire and little time. All of it is integer
arithmetic, and a decoder repeats it bit for bit.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from phloem.compression.kernels.jit import at, encoder_kernel, kernel, wide

Book = NDArray[np.uint32]
Starts = NDArray[np.uint32]
Finder = NDArray[np.uint8]
Costs = NDArray[np.float32]

LEVELS = 27
"""Levels of the mean magnitude, two an octave: below 1/1024, ..., from 5.7 to 8."""

TOP = LEVELS - 1
NEARS = 5
"""Classes of the mean of the values before in the row, beside what is expected now."""

STRIDE = 2 * NEARS
CONTEXTS = STRIDE * LEVELS
SYMBOLS = 34
"""Most symbols of a table: magnitudes, the last one being an escape."""

WHOLE_BITS = 16
WHOLE = 1 << WHOLE_BITS
FIND_BITS = 8
"""A table of so many bits finds the symbol, or the first of few."""

TOTAL, PENDING, GAP = SYMBOLS, SYMBOLS + 1, SYMBOLS + 2
ROOM = SYMBOLS + 3
COUNT = 32
PRIOR = 24
"""How many values the first table counts for."""

FIRST_GAP, MOST_GAP = 2, 512
MOST_SEEN = 6000
"""When a context has seen so many values their counts are halved."""

STEEPEST = 2.0
"""Magnitudes never become rarer by more than this, in nats a step: tails are heavier than Laplace's."""

FACTORS = (0.5, 0.8, 1.1, 1.6, 2.5)
"""How much larger values are than expected, by `NEARS`, to begin with."""

FIRST_ZERO = (0.5, 0.25)
"""Where, in steps, zero ends with either quantizer."""


def _last_symbols() -> NDArray[np.uint8]:
    """By level the escape: rare symbols would take room from those that are not."""
    means = [2.0 ** (level / 2 - 10) for level in range(LEVELS)]
    steps = ((1 / 64, 3), (1 / 8, 5), (1 / 2, 10), (2, 18))
    sizes = [next((size for limit, size in steps if mean < limit), SYMBOLS) for mean in means]
    return np.repeat(np.array(sizes, np.uint8) - 1, STRIDE).astype(np.uint8)


def _laplace_mean(mean: float) -> float:
    """The mean magnitude of the Laplace values whose rounded magnitudes have this mean."""
    low, high = 1e-3, 1e3
    for _ in range(60):
        middle = math.sqrt(low * high)
        rounded = math.exp(-0.5 / middle) / -math.expm1(-1 / middle)
        low, high = (middle, high) if rounded < mean else (low, middle)
    return low


def exact_counts() -> NDArray[np.float64]:
    """The first counts, before they are rounded."""
    counts = np.zeros((CONTEXTS, SYMBOLS))
    for context in range(CONTEXTS):
        level, rest = divmod(context, STRIDE)
        near, quantizer = divmod(rest, 2)
        mean = _laplace_mean(2.0 ** (level / 2 - 10.25) * FACTORS[near])
        more = math.exp(max(-1 / mean, -STEEPEST))
        last = int(LAST[context])
        left = math.exp(-FIRST_ZERO[quantizer] / mean)
        counts[context, 0] = 1 - left
        for symbol in range(1, last):
            counts[context, symbol] = left * (1 - more)
            left *= more
        counts[context, last] = left
    return PRIOR * COUNT * counts


LAST = _last_symbols()
BOUNDS = (0.35, 0.7, 1.4, 2.8)
"""The classes' bounds, beside the expected magnitude."""

LOCAL_BITS, LOCAL_PACE = 12, 3
"""The mean of the values before has so many bits after the point, and moves by one part in 2**pace."""

MOST_LOCAL = 1 << 15
LEVEL_LIMIT = 80


def exact_local() -> NDArray[np.float64]:
    """The bounds of the classes by level, before they are rounded."""
    centers = 2.0 ** (np.arange(LEVEL_LIMIT) / 2 - 10.25)
    return np.asarray(np.multiply.outer(centers, BOUNDS) * (1 << LOCAL_BITS))


LOCAL = np.round(exact_local()).astype(np.int64)


def _fresh_book() -> Book:
    book = np.zeros((CONTEXTS, ROOM), np.uint32)
    book[:, :SYMBOLS] = np.round(exact_counts()).astype(np.uint32)
    book[:, TOTAL] = book[:, :SYMBOLS].sum(axis=1)
    book[:, PENDING] = book[:, GAP] = FIRST_GAP
    return book


@kernel
def work_out(book: Book, starts: Starts, context: int, last: int) -> None:
    """Set where each symbol of a table starts, from its counts; symbols that have a sign get even shares."""
    free = WHOLE - 2 * (last + 1)
    scale = (free << 16) // wide(book[at(context), TOTAL])
    start = WHOLE
    starts[at(context), at(last + 1)] = WHOLE
    for back in range(last):
        symbol = last - back
        share = (wide(book[at(context), at(symbol)]) * scale) >> 16
        start -= (share & -2) + 2
        starts[at(context), at(symbol)] = start
    starts[at(context), 0] = 0


@kernel
def find_ahead(starts: Starts, finder: Finder, context: int, last: int) -> None:
    """Set which symbol each of the 256 parts of a table starts in."""
    symbol = 0
    for part in range(1 << FIND_BITS):
        slot = part << (WHOLE_BITS - FIND_BITS)
        while symbol < last and wide(starts[at(context), at(symbol + 1)]) <= slot:
            symbol += 1
        finder[at(context), at(part)] = symbol


@encoder_kernel
def price_all(starts: Starts, costs: Costs, context: int, last: int) -> None:
    """Set the bits of each symbol, with its sign."""
    for symbol in range(last + 1):
        share = wide(starts[at(context), at(symbol + 1)]) - wide(starts[at(context), at(symbol)])
        if symbol > 0:
            share >>= 1
        costs[at(context), at(symbol)] = np.float32(WHOLE_BITS) - np.log2(np.float32(share))


@kernel
def near_of(level: int, local: int) -> int:
    """The place, among the contexts of a level, for the mean of the values before."""
    near = 0
    for k in range(NEARS - 1):
        near += 2 if local > wide(LOCAL[at(level), at(k)]) else 0
    return near


@kernel
def local_mean(local: int, magnitude: int) -> int:
    """Move the mean of the values before."""
    return local + (((min(magnitude, MOST_LOCAL) << LOCAL_BITS) - local) >> LOCAL_PACE)


@kernel
def count(book: Book, context: int, symbol: int) -> bool:
    """Count a symbol; tell whether its table should be worked out anew."""
    book[at(context), at(symbol)] += np.uint32(COUNT)
    pending = wide(book[at(context), PENDING]) - 1
    book[at(context), PENDING] = pending
    return pending == 0


@kernel
def renew(book: Book, starts: Starts, context: int, last: int) -> None:
    """Work a table out anew, and set after how many values again."""
    gap = wide(book[at(context), GAP])
    total = wide(book[at(context), TOTAL]) + COUNT * gap
    if total > COUNT * MOST_SEEN:
        total = 0
        for symbol in range(last + 1):
            half = (wide(book[at(context), at(symbol)]) + 1) >> 1
            book[at(context), at(symbol)] = half
            total += half
    book[at(context), TOTAL] = total
    gap = min(2 * gap, MOST_GAP)
    book[at(context), GAP] = gap
    book[at(context), PENDING] = gap
    work_out(book, starts, context, last)


def fresh_tables() -> tuple[Book, Starts, Finder, Costs]:
    """The tables to begin with: counts, starts, what finds a symbol, and bits."""
    book = _fresh_book()
    starts = np.zeros((CONTEXTS, SYMBOLS + 1), np.uint32)
    finder = np.zeros((CONTEXTS, 1 << FIND_BITS), np.uint8)
    costs = np.zeros((CONTEXTS, SYMBOLS), np.float32)
    for context in range(CONTEXTS):
        last = int(LAST[context])
        work_out(book, starts, context, last)
        find_ahead(starts, finder, context, last)
        price_all(starts, costs, context, last)
    return book, starts, finder, costs
