"""The integer tables of the adaptive coder, equal on every machine.

Probabilities have 16 bits, their logits 8 bits after the point. The tables come from `exp` and `log`, whose
last digit differs between machines; no entry lies near enough to a rounding boundary for that to show
(a test holds them to their checksum and to that distance).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

LEVELS = 26
"""Levels of activity: two an octave, from under 1/256 to 16 quantization steps."""

COARSE = LEVELS // 2
BINS = 16
"""Room for the binary decisions of one magnitude in one context."""

UNARY = 14
"""Magnitudes up to this are coded in unary, the rest of larger ones by Exp-Golomb."""

INPUTS = 4
"""Contexts whose predictions are mixed for each decision."""

BY_BOTH = 0
BY_ROW = BY_BOTH + 2 * COARSE * COARSE * BINS
BY_COLUMN = BY_ROW + 2 * LEVELS * 9 * BINS
BY_PRODUCT = BY_COLUMN + LEVELS * 3 * BINS
PLAIN = BY_PRODUCT + 2 * LEVELS * 3 * BINS
"""Where each family of contexts begins in the models of one kind of plane; after them 96 unmixed ones."""

ROW_FLAG = 0
ESCAPE = 32
"""Places among the unmixed models; those from `ESCAPE` on, 32 of them, are the Exp-Golomb prefix."""

PLAIN_MODELS = 96
MODELS = PLAIN + PLAIN_MODELS
WEIGHTS = BINS * INPUTS

FULL_ACTIVITY = 4096
LOGIT_LIMIT = 2815
COUNT_BITS = 10
MIXED_LIMIT = 512
PLAIN_LIMIT = 60
"""After so many decisions a model's adaptation rate no longer falls."""


def _levels() -> NDArray[np.uint8]:
    table = np.zeros(FULL_ACTIVITY + 1, np.uint8)
    for activity in range(1, FULL_ACTIVITY + 1):
        octave = activity.bit_length() - 1
        half = (activity >> (octave - 1)) & 1 if octave else 0
        table[activity] = min(2 * octave + 1 + half, LEVELS - 1)
    return table


def _squash() -> NDArray[np.uint16]:
    logits = range(-LOGIT_LIMIT, LOGIT_LIMIT + 1)
    exact = (65536 / (1 + math.exp(-x / 256)) for x in logits)
    return np.array([min(max(round(p), 2), 65534) for p in exact], np.uint16)


def _stretch() -> NDArray[np.int16]:
    chances = ((i + 0.5) / 4096 for i in range(4096))
    return np.array([round(256 * math.log(p / (1 - p))) for p in chances], np.int16)


LEVEL = _levels()
"""Level of an activity in 1/256 steps, up to `FULL_ACTIVITY`."""

SQUASH = _squash()
"""Probability of a logit, counted from `-LOGIT_LIMIT`."""

STRETCH = _stretch()
"""Logit of a probability's upper 12 bits."""

RATE = np.array([int(65536 / (n + 1.6)) for n in range(1 << COUNT_BITS)], np.int32)
"""Adaptation rate after so many decisions."""

CENTER = np.array([128, *(round(294.4 * 2 ** ((level - 1) / 2)) for level in range(1, LEVELS))], np.int64)
"""Middle of each level of activity, in 1/65536 steps."""


def fresh_models(kinds: int) -> NDArray[np.uint32]:
    """Models that expect magnitudes to be geometric with the activity as their mean.

    A model is a 22-bit probability above a 10-bit count. Starting from what the contexts say, and not from
    one half, is what makes an update of a few hundred bytes affordable.
    """
    chance = np.zeros((MODELS,), np.int64)
    both = np.sqrt(CENTER[::2, None].astype(np.float64) * CENTER[None, ::2])
    _fill(chance, BY_BOTH, np.round(both).astype(np.int64).ravel(), 2)
    _fill(chance, BY_ROW, CENTER, 18)
    _fill(chance, BY_COLUMN, CENTER, 3)
    _fill(chance, BY_PRODUCT, CENTER, 6)
    chance[PLAIN:] = 1 << 21
    return np.tile((chance << COUNT_BITS).astype(np.uint32), kinds)


def fresh_weights(kinds: int) -> NDArray[np.int32]:
    """Mixing weights in 1/65536: a little over an average, for the contexts know different things."""
    return np.full(kinds * WEIGHTS, 19660, np.int32)


def _fill(chance: NDArray[np.int64], start: int, mean: NDArray[np.int64], repeat: int) -> None:
    """Set the models of one family from the mean magnitude (in 1/65536) of each context."""
    more = (mean << 22) // (mean + 65536)
    bins = np.clip(np.repeat(more, BINS).reshape(-1, BINS), 838860, 3355443)
    bins[:, 0] = more
    block = np.repeat(bins, repeat, axis=0).ravel()
    chance[start : start + block.size] = block
