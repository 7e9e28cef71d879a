"""Drift detection, judged by what really drifted: how late an alarm is, and how many mean nothing.

A. Bifet, "Classifier concept drift detection and the illusion of progress", ICAISC 2017.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Detection:
    """What the alarms on one stream, or on several, were worth.

    `delays` holds, for each drift that was noticed, the samples until its first alarm; `false_alarms`
    counts those that no drift explains.
    """

    delays: tuple[int, ...]
    missed: int
    false_alarms: int
    samples: int

    @property
    def median_delay(self) -> float | None:
        """The median over all drifts that were noticed; None where none was."""
        return median(self.delays) if self.delays else None

    @property
    def false_alarms_per_1000(self) -> float | None:
        """False alarms for each 1,000 samples of the stream; None without samples."""
        return 1000.0 * self.false_alarms / self.samples if self.samples else None

    def __add__(self, other: Detection) -> Detection:
        """Return what both streams' alarms were worth together."""
        return Detection(
            self.delays + other.delays,
            self.missed + other.missed,
            self.false_alarms + other.false_alarms,
            self.samples + other.samples,
        )


NOTHING = Detection((), 0, 0, 0)


def judge_alarms(drifts: Iterable[int], alarms: Iterable[int], samples: int, horizon: int) -> Detection:
    """Match alarms with drifts on one stream of `samples`, all given as positions in it.

    A drift at `t` explains the alarms in `t .. t + horizon`, as far as the next drift: the first gives
    the delay, the others are its echo and neither right nor wrong. All remaining alarms are false. Laws:
    every drift is noticed or missed; an alarm more never lowers `false_alarms`, and never raises a delay.
    """
    if horizon < 0:
        raise ValueError(f"`horizon` should be 0 samples or more. Found {horizon}.")
    when, fired = sorted(set(drifts)), sorted(alarms)
    delays, explained = [], 0
    for i, start in enumerate(when):
        end = min(start + horizon, when[i + 1] - 1) if i + 1 < len(when) else start + horizon
        heard = [alarm for alarm in fired if start <= alarm <= end]
        explained += len(heard)
        delays += [heard[0] - start] if heard else []
    return Detection(tuple(delays), len(when) - len(delays), len(fired) - explained, samples)
