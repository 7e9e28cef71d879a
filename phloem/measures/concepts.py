"""What was learned of each concept, and what was forgotten of it: the accuracy matrix and its summaries.

`matrix[i, j]` is the accuracy on concept `j` after concept `i` was learned, shape `(T, T)`, in 0..1.
D. Lopez-Paz, M. Ranzato, "Gradient episodic memory for continual learning", NeurIPS 2017; A. Chaudhry et al.,
"Riemannian walk for incremental learning", ECCV 2018, for forgetting.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def final_accuracy(matrix: ArrayLike) -> float:
    """Return the mean accuracy on all concepts after the last one was learned."""
    return float(_square(matrix)[-1].mean())


def forgetting(matrix: ArrayLike) -> float | None:
    """Return how far each earlier concept fell, on average, from the best it ever was before the last one.

    Laws: at most 1; 0 where no accuracy ever falls; negative where the last concept improved the earlier
    ones beyond their best. None with one concept.
    """
    found = _square(matrix)
    return float((found[:-1, :-1].max(0) - found[-1, :-1]).mean()) if len(found) > 1 else None


def backward_transfer(matrix: ArrayLike) -> float | None:
    """Return how much the accuracy on a concept changed, on average, since it was learned itself.

    Law: at least minus `forgetting`, and the same where each concept was at its best when it was learned.
    None with one concept.
    """
    found = _square(matrix)
    return float((found[-1, :-1] - np.diagonal(found)[:-1]).mean()) if len(found) > 1 else None


def _square(matrix: ArrayLike) -> NDArray[np.float64]:
    found = np.asarray(matrix, np.float64)
    if found.ndim != 2 or found.shape[0] != found.shape[1] or not found.size:
        raise ValueError(f"An accuracy matrix should be square, a row a concept. Found {found.shape}.")
    if not ((found >= 0.0) & (found <= 1.0)).all():
        raise ValueError("An accuracy matrix should hold accuracies in 0..1.")
    return found
