"""What a teacher is asked about: proxy samples and mixtures of them, or noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NOISE_PER_SAMPLE = 8
"""Inputs of noise for each validation sample, where there is no proxy."""


def noise(like: NDArray[np.float32], count: int, *, seed: int) -> NDArray[np.float32]:
    """Return `count` inputs without any content: each number uniform between its extremes in `like`."""
    rng = np.random.Generator(np.random.PCG64(seed))
    low, high = like.min(axis=0), like.max(axis=0)
    found = low + (high - low) * rng.random((count, *like.shape[1:]), np.float32)
    return np.asarray(found, np.float32)


def questions(proxy: NDArray[np.float32], mixup: int, *, seed: int) -> NDArray[np.float32]:
    """Return the proxy samples and `mixup` mixtures of random pairs for each.

    Few samples say little about a teacher that is nearly undecided on them; what it says between them
    does (function matching: Beyer et al. 2022, arXiv 2106.05237).
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    first, second = rng.integers(0, len(proxy), (2, mixup * len(proxy)))
    share = rng.random((mixup * len(proxy), *[1] * (proxy.ndim - 1)), np.float32)
    return np.concatenate([proxy, share * proxy[first] + (1 - share) * proxy[second]])
