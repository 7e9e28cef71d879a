"""The integer tables of the adaptive coder, equal on every machine.

Probabilities have 16 bits, their logits 8 bits after the point. The tables come from `exp` and `log`, whose
last digit differs between machines; no entry lies near enough to a rounding boundary for that to show
(a test holds them to their checksum and to that distance).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

INPUTS = 4
"""Contexts whose predictions are mixed for each decision."""

ESCAPE, PLAIN_MODELS = 32, 64
"""Where the Exp-Golomb prefix has its 32 models among the unmixed ones of a kind of plane; their number."""

LOGIT_LIMIT = 2815
COUNT_BITS = 10
MIXED_LIMIT = 512
PLAIN_LIMIT = 60
"""After so many decisions a model's adaptation rate no longer falls."""


def _squash() -> NDArray[np.uint16]:
    logits = range(-LOGIT_LIMIT, LOGIT_LIMIT + 1)
    exact = (65536 / (1 + math.exp(-x / 256)) for x in logits)
    return np.array([min(max(round(p), 2), 65534) for p in exact], np.uint16)


def _stretch() -> NDArray[np.int16]:
    chances = ((i + 0.5) / 4096 for i in range(4096))
    return np.array([round(256 * math.log(p / (1 - p))) for p in chances], np.int16)


SQUASH = _squash()
"""Probability of a logit, counted from `-LOGIT_LIMIT`."""

STRETCH = _stretch()
"""Logit of a probability's upper 12 bits."""

RATE = np.array([int(65536 / (n + 1.6)) for n in range(1 << COUNT_BITS)], np.int32)
"""Adaptation rate after so many decisions."""
