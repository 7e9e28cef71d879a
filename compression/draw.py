"""Random numbers that sender and receiver draw alike, from a seed that travels.

SplitMix64, in integers: G. L. Steele Jr. et al., "Fast splittable pseudorandom number generators", OOPSLA
2014. NumPy's generators may change what they draw from one version to the next; a frame must not.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from phloem.compression.signal import Array, Symbols
from phloem.compression.stage import Seed

SEED = Symbols((1,), bits=32)
"""How a seed travels."""

U64 = np.uint64
GAMMA = U64(0x9E3779B97F4A7C15)


def seed_of(seed: Seed) -> Array:
    """The seed to send, drawn from the encoder's own."""
    return np.random.SeedSequence(seed).generate_state(1, np.uint32)


def numbers(seed: Array, count: int) -> NDArray[np.uint64]:
    """Numbers of 64 random bits, no two of them equal."""
    start = _mixed(seed[:1].astype(U64) * GAMMA)
    steps = np.arange(1, count + 1, dtype=U64)
    steps *= GAMMA
    steps += start
    return _mixed(steps)


def _mixed(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scatter 64 bits, one to one; `state` is overwritten."""
    state ^= state >> U64(30)
    state *= U64(0xBF58476D1CE4E5B9)
    state ^= state >> U64(27)
    state *= U64(0x94D049BB133111EB)
    state ^= state >> U64(31)
    return state
