"""Over-selection: more clients are asked than a round needs, and the first usable replies make it.

A straggler then costs a round nothing (Bonawitz et al. 2019, arXiv:1902.01046, section 4). Its reply is not
lost either: nothing acknowledges it, so its client takes the update back into its residual and sends it
again, coded with the next one. "First" is the order in which a carrier delivers: that of arrival where there
is a network, a draw from the seed in a simulation. Which replies are used decides a model's bits, so hashes
are equal across carriers only where these are the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from phloem.config import ServerConfig

T = TypeVar("T")
LATE = "late", "Enough replies were there before its own; what it learned comes with its next one."
SILENT = "silent", "No reply within the round's time."


def to_ask(config: ServerConfig, here: int) -> int:
    """Return how many of the clients that are here to ask."""
    wanted = config.clients_per_round or here
    return min(here, math.ceil(round(wanted * config.over_selection, 6)))  # 10 * 1.1 is 11, not 12


def needed(config: ServerConfig, asked: int) -> int:
    """Return how many usable replies make a round in which so many clients were asked."""
    return min(asked, config.clients_per_round) if config.over_selection > 1 else asked


def beyond(replies: Sequence[T], needed: int, usable: Callable[[T], bool]) -> Iterable[T]:
    """Return what came after as many usable replies as are needed: nothing, where there were not so many."""
    if needed >= len(replies):
        return ()
    found = 0
    for place, reply in enumerate(replies):
        if found == needed:
            return replies[place:]
        found += usable(reply)
    return ()
