"""Who judges a distilled model, and when it is kept: never on samples that it was taught with."""

from __future__ import annotations

from math import comb

import numpy as np

from phloem.config import DistillConfig
from phloem.learning import Scores
from phloem.sources import Samples


def divide(validation: Samples, config: DistillConfig) -> tuple[Samples, Samples]:
    """Return the samples that teach and those that judge.

    Of each class every second one teaches, the same in every round: what taught an earlier model never judges
    a later one. Where labels count for nothing, all judge.
    """
    if not config.label_weight:
        return validation.take(np.arange(0)), validation
    place = np.zeros(len(validation), np.int64)
    for label in np.unique(validation.y):
        of_class = np.flatnonzero(validation.y == label)
        place[of_class] = np.arange(len(of_class))
    return validation.take(np.flatnonzero(place % 2 == 1)), validation.take(np.flatnonzero(place % 2 == 0))


def is_better(before: Scores, after: Scores, judges: Samples, config: DistillConfig) -> bool:
    """Tell whether a model did better than the one before, by more than chance would have it.

    Its loss is no higher, it has `config.margin` of the samples more right, and a coin would come off as well
    on the samples that only one of them has right with a chance of `config.doubt` at most (the exact test of
    McNemar 1947, one-sided).
    """
    if before.predicted is None or after.predicted is None or not len(judges):
        return False
    was_right, is_right = before.predicted == judges.y, after.predicted == judges.y
    won, lost = int((is_right & ~was_right).sum()), int((was_right & ~is_right).sum())
    enough = won - lost >= config.margin * len(judges) and won > lost
    return enough and after.loss <= before.loss and chance(won, lost) <= config.doubt


def chance(won: int, lost: int) -> float:
    """Return how likely a fair coin comes up heads `won` times or more out of `won + lost`."""
    tossed = won + lost
    ways, of_these = 0, comb(tossed, won)
    for heads in range(won, tossed + 1):
        ways += of_these
        of_these = of_these * (tossed - heads) // (heads + 1)  # the next binomial coefficient, exactly
    return float(ways / 2**tossed)
