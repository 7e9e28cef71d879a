"""Seeds for every generator, derived from the run's seed and what the generator is for."""

from __future__ import annotations

import hashlib

import numpy as np


def derive(seed: int, *purpose: str | int) -> int:
    """Return a 63-bit seed that depends on `seed` and `purpose` alone: not on order, process or machine."""
    text = "\x1f".join([str(seed), *(str(part) for part in purpose)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """Return a generator seeded by `derive`."""
    return np.random.Generator(np.random.PCG64(derive(seed, *purpose)))
