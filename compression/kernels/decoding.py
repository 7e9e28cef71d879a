"""Rows of values, decoded: the mirror of `encoding`, bounded by the shape and by what the words hold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from phloem.compression.kernels.coder import (
    CODE,
    HALF,
    RANGE,
    SMALL_RANGE,
    Models,
    State,
    Words,
    decode_bit,
    decode_plain,
    move_in,
)
from phloem.compression.kernels.frequencies import (
    CONTEXTS,
    FIND_BITS,
    LAST,
    STRIDE,
    WHOLE,
    WHOLE_BITS,
    Book,
    Finder,
    Starts,
    count,
    find_ahead,
    local_mean,
    near_of,
    renew,
)
from phloem.compression.kernels.jit import at, kernel, wide
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
    decode_delta,
    fade,
    noise_of,
    see,
    set_levels,
    share_of,
)
from phloem.compression.kernels.tables import ESCAPE, PLAIN_MODELS
from phloem.compression.kernels.trellis import successor

LARGEST_PREFIX = 25


@kernel
def decode_escape(
    code: int, width: int, models: Models, place: int, state: State, words: Words
) -> tuple[int, int, int]:
    """Invert `encode_escape`."""
    prefix = 0
    while prefix < LARGEST_PREFIX:
        code, width, bit = decode_plain(code, width, models, place + prefix, state, words)
        if bit == 0:
            break
        prefix += 1
    rest = 1
    for _ in range(prefix):
        code, width, bit = decode_bit(code, width, HALF, state, words)
        rest = 2 * rest + bit
    return code, width, rest


@kernel
def decode_rows(
    kind: int,
    relative: int,
    models: Models,
    book: Book,
    starts: Starts,
    finder: Finder,
    state: State,
    words: Words,
    activity: Values,
    bits: Bits,
    levels: Levels,
    dependents: NDArray[np.uint8],
    halves: NDArray[np.int32],
) -> int:
    """Decode into `halves` (rows, columns); give 0, or -1 where a number is beyond what encoders write."""
    rows, columns = halves.shape
    base = kind * PLAIN_MODELS
    first = min(kind, 1) * CONTEXTS
    code, width = state[CODE], state[RANGE]
    shift = 0
    before = 0
    trusted = 1
    for i in range(rows):
        own = halves[at(i)]
        share = share_of(i)
        code, width, some = decode_plain(code, width, models, base + FLAG + before, state, words)
        before = some
        dependents[at(i)] = 0
        if not some:
            own[:] = 0
            if relative == 0:
                fade(activity, share)
            continue
        code, width, delta = decode_delta(code, width, models, base + DELTA, state, words)
        shift += delta
        if abs(shift) > MOST_SHIFT:
            return -1
        set_levels(bits, shift, levels)
        code, width, dependent = decode_plain(code, width, models, base + DEPENDENT + trusted, state, words)
        trusted = dependent
        dependents[at(i)] = dependent
        machine = 0
        local = 0
        for j in range(columns):
            level = wide(levels[at(j)])
            noise = noise_of(level)
            quantizer = machine >> 1
            context = STRIDE * (level - 2 * noise) + near_of(level, local) + quantizer
            last = wide(LAST[at(context)])
            context += first
            part_width = width >> WHOLE_BITS
            slot = min(wide(np.uint64(code) // np.uint64(part_width)), WHOLE - 1)
            symbol = wide(finder[at(context), at(slot >> (WHOLE_BITS - FIND_BITS))])
            start = wide(starts[at(context), at(symbol)])
            end = wide(starts[at(context), at(symbol + 1)])
            while slot >= end:
                symbol += 1
                start = end
                end = wide(starts[at(context), at(symbol + 1)])
            part = (end - start) >> min(symbol, 1)
            negative = 1 if slot - start >= part else 0
            code -= part_width * (start + negative * part)
            width = part_width * part
            code = min(code, width - 1)  # no encoder writes what lies beyond, but somebody may
            if width < SMALL_RANGE:
                code, width = move_in(code, width, state, words)
            if count(book, context, symbol):
                renew(book, starts, context, last)
                find_ahead(starts, finder, context, last)
            magnitude = symbol
            if symbol == last:
                code, width, rest = decode_escape(code, width, models, base + ESCAPE, state, words)
                magnitude = rest + last - 1
            if noise > 0:
                for _ in range(noise):
                    code, width, bit = decode_bit(code, width, HALF, state, words)
                    magnitude = 2 * magnitude + bit
                if symbol == 0 and magnitude > 0:
                    code, width, negative = decode_bit(code, width, HALF, state, words)
            points = 2 * magnitude - quantizer if magnitude > 0 else 0
            if points > LARGEST:
                return -1
            own[at(j)] = -points if negative else points
            machine = successor(machine, magnitude & dependent)
            local = local_mean(local, magnitude)
        see(activity, own, SCALES[at(MOST_SHIFT + shift * relative)], share)
    state[CODE], state[RANGE] = code, width
    return 0
