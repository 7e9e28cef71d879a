"""Rows of values, quantized along a trellis and coded one after another.

A row that is all zero costs one flag; any other begins with its scale. A magnitude is one symbol with its
sign; beyond its table's escape follows Exp-Golomb. Low bits that the level shows to be noise are sent raw.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from phloem.compression.kernels.coder import (
    HALF,
    LOW,
    RANGE,
    SMALL_RANGE,
    WAITING,
    WRITTEN,
    Models,
    State,
    Words,
    encode_bit,
    encode_plain,
    move_out,
)
from phloem.compression.kernels.frequencies import (
    CONTEXTS,
    LAST,
    STRIDE,
    WHOLE_BITS,
    Book,
    Costs,
    Starts,
    count,
    local_mean,
    near_of,
    price_all,
    renew,
)
from phloem.compression.kernels.jit import at, encoder_kernel, kernel, wide
from phloem.compression.kernels.rows import (
    DELTA,
    DEPENDENT,
    FLAG,
    LARGEST,
    MOST_SHIFT,
    SCALES,
    Bits,
    Levels,
    Values,
    encode_delta,
    fade,
    noise_of,
    rounded_sum,
    see,
    set_levels,
    share_of,
    shift_of,
)
from phloem.compression.kernels.tables import ESCAPE, PLAIN_MODELS
from phloem.compression.kernels.trellis import choose, round_each, successor

MOST_WORDS = 512
"""More words than `SOME` values can take, were each of their decisions to cost as much as any can."""

SOME = 16
"""Room for words is looked at once for so many values."""

DEPENDENT_STEP = 1.125
"""Dependent quantization has less error at the same step; at this one a bit is worth the same."""

ROW_BITS = 1.0
"""The guess of what a row's scale costs."""


@encoder_kernel
def add_residues(row: Values, half: float, weight: float, halves: Bits, sums: NDArray[np.float64]) -> None:
    """Add a row's share to the sums over a plane, with the `weight` of its squared steps.

    They are the squared error with points at the integers; then for magnitudes of one and two, and for
    larger ones, the weight that a shift of the point has and the pull towards one.
    """
    error = np.float32(0)
    near = 0
    far = 0
    pull_near = np.float32(0)
    pull_far = np.float32(0)
    inverse = np.float32(1 / half)
    for j in range(row.size):
        size = abs(halves[at(j)])
        over = abs(row[at(j)]) * inverse - size
        error += over * over
        far += 1 if size > 2 else 0
        near += 1 if size == 1 or size == 2 else 0
        pull_far += over if size > 2 else np.float32(0)
        pull_near += over if size == 1 or size == 2 else np.float32(0)
    weight *= 0.25
    sums[0] += weight * error
    sums[1] += weight * near
    sums[2] += weight * pull_near
    sums[3] += weight * far
    sums[4] += weight * pull_far


@encoder_kernel
def any_of(chosen: NDArray[np.int32]) -> bool:
    """Whether any integer is not zero."""
    found = 0
    for j in range(chosen.size):
        found |= chosen[at(j)]
    return found != 0


@kernel
def encode_escape(
    low: int, width: int, models: Models, place: int, rest: int, state: State, words: Words
) -> tuple[int, int]:
    """Encode a positive number by Exp-Golomb."""
    prefix = 0
    while (2 << prefix) <= rest:
        low, width = encode_plain(low, width, models, place + prefix, 1, state, words)
        prefix += 1
    low, width = encode_plain(low, width, models, place + prefix, 0, state, words)
    for k in range(prefix):
        bit = (rest >> (prefix - 1 - k)) & 1
        low, width = encode_bit(low, width, HALF, bit, state, words)
    return low, width


@kernel
def encode_rows(
    x: Values,
    inverse: float,
    price: float,
    dense: float,
    whole: int,
    kind: int,
    relative: int,
    models: Models,
    book: Book,
    starts: Starts,
    costs: Costs,
    state: State,
    words: Words,
    activity: Values,
    bits: Bits,
    levels: Levels,
    branches: NDArray[np.int32],
    survivors: NDArray[np.uint8],
    chosen: NDArray[np.int32],
    halves: NDArray[np.int32],
    dependents: NDArray[np.uint8],
    sums: NDArray[np.float64],
) -> int:
    """Quantize and encode `x` (rows, columns) times `inverse`; give 0, or -1 where `words` is full.

    `price` is Lagrange's: what one bit costs in squared steps; where `whole`, rows are not left out to save
    bits. `activity` is that of the columns to begin with, `bits` its memory as integers; where `relative` it
    is of a row's magnitudes over its scale. `levels`, `branches`, `survivors` and `chosen` are room to work
    in. What the decoder will see is left in `halves`, in half steps, of as many of the last rows as there is
    room for; and in `sums` what `add_residues` says.
    """
    rows, columns = x.shape
    kept = halves.shape[0]
    base = kind * PLAIN_MODELS
    first = min(kind, 1) * CONTEXTS
    low, width = state[LOW], state[RANGE]
    shift = 0
    before = 0
    trusted = 1
    for i in range(rows):
        if state[WRITTEN] + state[WAITING] + MOST_WORDS > words.size:
            return -1
        own = halves[at(i % kept)]
        share = share_of(i)
        total = rounded_sum(x[at(i)], inverse)
        some = 0
        dependent = 0
        delta = 0
        if total > 0:
            mean = total / columns
            delta = shift_of(total, activity, shift) - shift
            set_levels(bits, shift + delta, levels)
            dependent = 1 if mean >= dense else 0
            if dependent:
                cost, zeros = choose(
                    x[at(i)], inverse / DEPENDENT_STEP, price / DEPENDENT_STEP**2, levels, first, costs,
                    LARGEST >> 1, branches, survivors, chosen,
                )  # fmt: skip
            else:
                cost, zeros = round_each(x[at(i)], inverse, price, levels, first, costs, LARGEST >> 1, chosen)
            if cost + ROW_BITS * price < zeros or (whole and any_of(chosen)):
                some = 1
        low, width = encode_plain(low, width, models, base + FLAG + before, some, state, words)
        before = some
        step = 1.0
        if some == 0:
            dependents[at(i)] = 0
            own[:] = 0
            if relative == 0:
                fade(activity, share)
            add_residues(x[at(i)], 0.5 / inverse, 1.0, own, sums)
            continue
        low, width = encode_delta(low, width, models, base + DELTA, delta, state, words)
        shift += delta
        low, width = encode_plain(low, width, models, base + DEPENDENT + trusted, dependent, state, words)
        trusted = dependent
        dependents[at(i)] = dependent
        machine = 0
        local = 0
        for j in range(columns):
            if j % SOME == 0 and state[WRITTEN] + state[WAITING] + MOST_WORDS > words.size:
                return -1
            level = wide(levels[at(j)])
            noise = noise_of(level)
            quantizer = machine >> 1
            context = STRIDE * (level - 2 * noise) + near_of(level, local) + quantizer
            last = wide(LAST[at(context)])
            context += first
            magnitude = wide(chosen[at(j)])
            symbol = min(magnitude >> noise, last)
            negative = 1 if x[at(i), at(j)] < 0 and magnitude > 0 else 0
            start = wide(starts[at(context), at(symbol)])
            part = (wide(starts[at(context), at(symbol + 1)]) - start) >> min(symbol, 1)
            part_width = width >> WHOLE_BITS
            if symbol > 0:
                start += negative * part
            low += part_width * start
            width = part_width * part
            if width < SMALL_RANGE:
                low, width = move_out(low, width, state, words)
            if count(book, context, symbol):
                renew(book, starts, context, last)
                price_all(starts, costs, context, last)
            if symbol == last:
                place = base + ESCAPE
                low, width = encode_escape(
                    low, width, models, place, (magnitude >> noise) - last + 1, state, words
                )
            if noise > 0:
                for k in range(noise):
                    bit = (magnitude >> (noise - 1 - k)) & 1
                    low, width = encode_bit(low, width, HALF, bit, state, words)
                if symbol == 0 and magnitude > 0:
                    low, width = encode_bit(low, width, HALF, negative, state, words)
            points = 2 * magnitude - quantizer if magnitude > 0 else 0
            own[at(j)] = -points if negative else points
            machine = successor(machine, magnitude & dependent)
            local = local_mean(local, magnitude)
        see(activity, own, SCALES[at(MOST_SHIFT + shift * relative)], share)
        if dependent:
            step = DEPENDENT_STEP
        add_residues(x[at(i)], 0.5 * step / inverse, step * step, own, sums)
    state[LOW], state[RANGE] = low, width
    return 0
