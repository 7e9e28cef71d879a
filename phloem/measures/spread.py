"""How unequal the clients fare: a mean over all hides those that the model does not serve."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike


def worst_mean(values: ArrayLike, share: float = 0.1) -> float | None:
    """Return the mean over the worst `share` of clients, one client at least; None without a client.

    Laws: at most the mean of all, equal to it with `share` 1, at least the worst of all; the same in every
    order of the clients.
    """
    if not 0.0 < share <= 1.0:
        raise ValueError(f"`share` should be above 0 and at most 1. Found {share}.")
    found = np.sort(np.asarray(values, np.float64))
    if not found.size:
        return None
    return float(found[: max(1, math.ceil(share * len(found) - 1e-9))].mean())
