"""A binary range coder with adaptive, mixed models: the primitives.

The coder's state is an array of int64. Encoding: low, range, the word held back, how many 0xFFFF words wait
behind it, words written. Decoding: code, range, words read. The range has 48 bits and moves by 16-bit words:
so a probability of 16 bits is kept exactly enough for 0.01 bits per parameter.

A decision is predicted by up to four models, each adapted in its own context; their logits are summed with
weights that learn which context to trust (Mahoney's logistic mixing, as in PAQ). All of it is integer
arithmetic, and a decoder repeats it bit for bit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from phloem.compression.kernels.jit import at, kernel, wide
from phloem.compression.kernels.tables import (
    COUNT_BITS,
    INPUTS,
    LOGIT_LIMIT,
    MIXED_LIMIT,
    PLAIN_LIMIT,
    RATE,
    SQUASH,
    STRETCH,
)

Models = NDArray[np.uint32]
Weights = NDArray[np.int32]
State = NDArray[np.int64]
Words = NDArray[np.uint16]

LOW, RANGE, HELD, WAITING, WRITTEN = 0, 1, 2, 3, 4
CODE, READ = 0, 2
FULL_RANGE = 1 << 48
SMALL_RANGE = 1 << 32
HALF = 1 << 15
COUNT_MASK = (1 << COUNT_BITS) - 1
LEARNING_SHIFT = 14


@kernel
def move_out(low: int, width: int, state: State, words: Words) -> tuple[int, int]:
    """Move a word out of the range, with the carry into those before it."""
    if low < (0xFFFF << 32) or low >= FULL_RANGE:
        carry = low >> 48
        place = state[WRITTEN]
        if state[HELD] >= 0:
            words[at(place)] = (state[HELD] + carry) & 0xFFFF
            place += 1
        for _ in range(state[WAITING]):
            words[at(place)] = (0xFFFF + carry) & 0xFFFF
            place += 1
        state[WAITING] = 0
        state[WRITTEN] = place
        state[HELD] = (low >> 32) & 0xFFFF
    else:
        state[WAITING] += 1
    return (low & 0xFFFFFFFF) << 16, width << 16


@kernel
def encode_bit(low: int, width: int, chance: int, bit: int, state: State, words: Words) -> tuple[int, int]:
    """Encode one decision that is 1 with probability `chance` / 65536."""
    bound = (width >> 16) * chance
    if bit:
        width = bound
    else:
        low += bound
        width -= bound
    if width < SMALL_RANGE:
        return move_out(low, width, state, words)
    return low, width


@kernel
def move_in(code: int, width: int, state: State, words: Words) -> tuple[int, int]:
    """Move the next word into the code."""
    place = state[READ]
    word = 0
    if place < words.size:
        word = wide(words[at(place)])
    state[READ] = place + 1
    return (code << 16) | word, width << 16


@kernel
def decode_bit(code: int, width: int, chance: int, state: State, words: Words) -> tuple[int, int, int]:
    """Decode one decision; behind the last word follow zeros."""
    bound = (width >> 16) * chance
    if code < bound:
        width = bound
        bit = 1
    else:
        code -= bound
        width -= bound
        bit = 0
    if width < SMALL_RANGE:
        code, width = move_in(code, width, state, words)
    return code, width, bit


@kernel
def adapt(models: Models, index: int, bit: int, limit: int) -> None:
    """Move a model towards what happened, the less the more it has seen."""
    model = wide(models[at(index)])
    chance = model >> COUNT_BITS
    count = model & COUNT_MASK
    rate = wide(RATE[at(count)])
    if bit:
        chance += (((1 << 22) - 1 - chance) * rate) >> 16
    else:
        chance -= (chance * rate) >> 16
    if count < limit:
        count += 1
    models[at(index)] = (chance << COUNT_BITS) | count


@kernel
def plain_chance(models: Models, index: int) -> int:
    """The probability that one model gives by itself."""
    return min(max(wide(models[at(index)]) >> 16, 32), 65536 - 32)


@kernel
def encode_plain(
    low: int, width: int, models: Models, index: int, bit: int, state: State, words: Words
) -> tuple[int, int]:
    """Encode one decision with one model."""
    low, width = encode_bit(low, width, plain_chance(models, index), bit, state, words)
    adapt(models, index, bit, PLAIN_LIMIT)
    return low, width


@kernel
def decode_plain(
    code: int, width: int, models: Models, index: int, state: State, words: Words
) -> tuple[int, int, int]:
    """Decode one decision with one model."""
    code, width, bit = decode_bit(code, width, plain_chance(models, index), state, words)
    adapt(models, index, bit, PLAIN_LIMIT)
    return code, width, bit


@kernel
def stretch(models: Models, index: int) -> int:
    """The logit of one model's probability."""
    return wide(STRETCH[at(models[at(index)] >> 20)])


@kernel
def mix(weights: Weights, place: int, a: int, b: int, c: int, d: int) -> int:
    """The probability that four logits give together."""
    total = wide(weights[at(place)]) * a + wide(weights[at(place + 1)]) * b
    total += wide(weights[at(place + 2)]) * c + wide(weights[at(place + 3)]) * d
    return wide(SQUASH[at(min(max(total >> 16, -LOGIT_LIMIT), LOGIT_LIMIT) + LOGIT_LIMIT)])


@kernel
def learn(weights: Weights, place: int, error: int, a: int, b: int, c: int, d: int) -> None:
    """Shift trust towards the contexts that were right; `error` is outcome minus probability."""
    half = 1 << (LEARNING_SHIFT - 1)
    weights[at(place)] += (error * a + half) >> LEARNING_SHIFT
    weights[at(place + 1)] += (error * b + half) >> LEARNING_SHIFT
    weights[at(place + 2)] += (error * c + half) >> LEARNING_SHIFT
    weights[at(place + 3)] += (error * d + half) >> LEARNING_SHIFT


@kernel
def adapt_all(models: Models, a: int, b: int, c: int, d: int, bit: int) -> None:
    """Adapt the four models that were mixed."""
    adapt(models, a, bit, MIXED_LIMIT)
    adapt(models, b, bit, MIXED_LIMIT)
    adapt(models, c, bit, MIXED_LIMIT)
    adapt(models, d, bit, MIXED_LIMIT)


assert INPUTS == 4, "mix, learn and adapt_all are written out for four contexts"
