"""Which samples a network learns from at once: one pass after the other over what there is."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from phloem.client.goal import Batch


def passes(size: int, batch_size: int, epochs: int, seed: int) -> Iterator[Batch]:
    """Yield the batches of each pass: the first in order of arrival, the others shuffled."""
    rng = np.random.Generator(np.random.PCG64(seed))
    for epoch in range(epochs):
        order = rng.permutation(size) if epoch else None
        for start in range(0, size, batch_size):
            batch = slice(start, min(start + batch_size, size))
            yield batch if order is None else order[batch]


def draws(size: int, batch_size: int, count: int, seed: int) -> Iterator[Batch]:
    """Yield `count` batches, each drawn from all samples."""
    rng = np.random.Generator(np.random.PCG64(seed))
    for _ in range(count):
        yield rng.integers(0, size, batch_size)


def length_of(batch: Batch) -> int:
    """Return how many samples a batch has."""
    return int(batch.stop - batch.start) if isinstance(batch, slice) else len(batch)
