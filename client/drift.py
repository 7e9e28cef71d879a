"""Noticing drift: a detector watches a client's errors and speaks up when they rise.

A. Bifet, R. Gavaldà, "Learning from time-changing data with adaptive windowing", SDM 2007 (ADWIN);
I. Frías-Blanco et al., "Online and non-parametric drift detection methods based on Hoeffding's bounds", 2015
(HDDM_W); E. S. Page, "Continuous inspection schemes", 1954. The detectors are river's, which keep no plain
state: what is kept is the errors since the last alarm, a byte each, and a detector is made by feeding them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from phloem.config import ClientConfig

LONGEST = 1000
"""So many errors are kept at most; then the older half goes, and the detector starts over from the rest."""

Errors = bytes
"""A byte a sample, 255 for the worst."""


class Detector(Protocol):
    """What phloem needs of a detector of river's."""

    @property
    def drift_detected(self) -> bool:
        """Whether the last update made it sure of a change."""
        ...

    def update(self, x: float) -> object:
        """Take in one error in 0..1."""
        ...


@dataclass(frozen=True, slots=True)
class Watched:
    """What came of watching some errors."""

    history: Errors
    """The errors since the last alarm, for the next call."""
    alarms: int = 0
    recent: int = 0
    """How many of the newest errors came after the change that the last alarm was about."""


def watch(history: Errors, errors: Errors, config: ClientConfig) -> Watched:
    """Show the errors to the detector one by one; in one call or in many, the alarms are the same."""
    make = detector_of(config)
    detector, past, alarms, recent = _fed(make, history), bytearray(history), 0, 0
    for error in errors:
        if len(past) >= LONGEST:
            past = past[-(LONGEST // 2) :]
            detector = _fed(make, past)
        past.append(error)
        recent += 1
        if _rises(detector, error / 255):
            alarms += 1
            recent = len(past) - change_point(past)
            detector, past = make(), bytearray()
    return Watched(bytes(past), alarms, recent if alarms else 0)


def change_point(errors: Errors | bytearray) -> int:
    """Return the place at which the mean rose most clearly: before it was one world, from it on another.

    Of all places k of n it has the largest (after - before) sqrt(k (n - k) / n), the two means compared in
    units of the standard deviation of their difference; 0 where the mean rises nowhere.
    """
    n = len(errors)
    if n < 2:
        return 0
    k = np.arange(1, n)
    sums = np.cumsum(np.frombuffer(errors, np.uint8), dtype=np.int64)
    before, after = sums[:-1] / k, (sums[-1] - sums[:-1]) / (n - k)
    rise = (after - before) * np.sqrt(k * (n - k) / n)
    best = int(np.argmax(rise))
    return best + 1 if rise[best] > 0 else 0


def error_bytes(errors: NDArray[np.float32], scores: bool) -> Errors:
    """Return errors as bytes; a score s, which has no upper end, counts as s / (1 + s)."""
    bounded = errors
    if scores:
        finite = np.nan_to_num(errors, nan=1e30, posinf=1e30)
        bounded = finite / (1 + finite)
    return np.rint(255 * bounded).astype(np.uint8).tobytes()


def detector_of(config: ClientConfig) -> Callable[[], Detector]:
    """Return what makes a fresh detector; river is slow to import, and few clients need it."""
    chosen = config.detector_threshold
    if config.detector == "adwin":
        from river.drift import ADWIN

        return lambda: ADWIN(delta=chosen or 0.002)  # type: ignore[no-untyped-call]
    if config.detector == "hddm_w":
        from river.drift.binary import HDDMW

        return lambda: HDDMW(drift_confidence=chosen or 0.001)  # type: ignore[no-untyped-call]
    from river.drift import PageHinkley

    return lambda: PageHinkley(threshold=chosen or 20.0, mode="up")


def _fed(make: Callable[[], Detector], errors: Errors | bytearray) -> Detector:
    detector = make()
    for error in errors:
        detector.update(error / 255)
    return detector


def _rises(detector: Detector, error: float) -> bool:
    """Show one error, and tell whether the detector found that errors rise; ADWIN also sees them fall."""
    before = getattr(detector, "estimation", None)
    detector.update(error)
    if not detector.drift_detected:
        return False
    return before is None or bool(getattr(detector, "estimation", 0.0) > before)
