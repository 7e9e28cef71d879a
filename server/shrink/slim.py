"""A student that begins as its teacher: channels go until so many weights are left, and the rest is taught.

What is left has the teacher's filters, so it learns sooner and comes closer than a network of the same size
that begins with chance, while the architecture is the user's own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import nn

from phloem.server.shrink.channels import pruned
from phloem.server.shrink.network import folded, parameters, weighty

RANKED_INPUTS = 256
HALVINGS = 10
MOST = 0.999
"""Of a layer's channels, that may go: all but one."""


def slimmed(
    network: nn.Module, budget: int, inputs: NDArray[np.float32], ranking: str = "l2", *, seed: int
) -> nn.Module | None:
    """Return the teacher without so many channels that at most `budget` weights are left, or None.

    The same share of every layer's first, then, from the last layer to the first, what the budget still
    allows. None where even a channel a layer is too many. Weights are counted as they are shipped.

    Raises:
        ConfigError: the network cannot be pruned.
    """
    inputs = inputs[:RANKED_INPUTS]
    names = list(weighty(network))[:-1]
    shares = dict.fromkeys(names, MOST)

    def small(tried: dict[str, float]) -> nn.Module | None:
        found = pruned(network, tried, inputs, ranking, seed=seed)
        return found if parameters(folded(found)) <= budget else None

    best = small(shares)
    if best is None:
        return None
    for group in (names, *([name] for name in reversed(names))):
        fits, misses = max(shares[name] for name in group), 0.0
        for _ in range(HALVINGS):
            middle = (fits + misses) / 2
            found = small({**shares, **dict.fromkeys(group, middle)})
            if found is None:
                misses = middle
            else:
                best, fits = found, middle
        shares |= dict.fromkeys(group, fits)
    return best
