"""Drift detection: river's detectors, as functions of what was seen; only a rise is an alarm."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from river.drift import ADWIN, PageHinkley
from river.drift.binary import HDDMW

from phloem.client.drift import LONGEST, Watched, change_point, error_bytes, watch
from phloem.config import ClientConfig

RIVERS: dict[str, Any] = {
    "adwin": lambda: ADWIN(delta=0.002),  # type: ignore[no-untyped-call]
    "hddm_w": lambda: HDDMW(drift_confidence=0.001),  # type: ignore[no-untyped-call]
    "page_hinkley": lambda: PageHinkley(threshold=20.0, mode="up"),
}
NAMES = sorted(RIVERS)


def errors(*parts: tuple[int, float], seed: int = 1) -> NDArray[np.float32]:
    """Hits and misses: so many, with such a rate of misses, one part after the other."""
    rng = np.random.default_rng(seed)
    return np.concatenate([(rng.random(count) < rate).astype(np.float32) for count, rate in parts])


def config(name: str, **changes: Any) -> ClientConfig:
    return ClientConfig(detector=name, **changes)  # type: ignore[arg-type]


def in_portions(seen: bytes, portion: int, settings: ClientConfig) -> tuple[list[int], Watched]:
    """Watch portion by portion, with nothing but the history in between; where alarms were raised."""
    watched, alarms = Watched(b""), []
    for start in range(0, len(seen), portion):
        watched = watch(watched.history, seen[start : start + portion], settings)
        alarms += [start] * watched.alarms
    return alarms, watched


@pytest.mark.parametrize("name", NAMES)
def test_a_detector_made_from_the_state_is_the_one_that_was_there(name: str) -> None:
    """Protects every client between rounds: alarms do not depend on how the stream was cut into rounds."""
    seen = error_bytes(errors((200, 0.05), (100, 0.6), (1150, 0.1), (100, 0.8)), scores=False)
    one_by_one, last = in_portions(seen, 5, config(name))
    assert len(one_by_one) >= 2
    for portion in (50, len(seen)):
        alarms, watched = in_portions(seen, portion, config(name))
        assert [start // portion for start in one_by_one] == [start // portion for start in alarms]
        assert watched.history == last.history


@pytest.mark.parametrize("name", NAMES)
def test_the_first_alarm_is_rivers(name: str) -> None:
    """Protects the claim that these are river's detectors: they fire at the same sample."""
    stream = errors((150, 0.1), (100, 0.7))
    detector, expected = RIVERS[name](), 0
    for place, error in enumerate(stream.tolist()):
        detector.update(int(error))
        if detector.drift_detected:
            expected = place
            break
    assert expected >= 150
    seen = error_bytes(stream, scores=False)
    assert not watch(b"", seen[:expected], config(name)).alarms
    assert watch(b"", seen[: expected + 1], config(name)).alarms == 1


@pytest.mark.parametrize("name", NAMES)
def test_falling_errors_are_no_alarm(name: str) -> None:
    """Protects a client that is just learning: ADWIN sees a change there, and it is a good one."""
    for seed in range(5):
        learning = errors((200, 0.9), (200, 0.5), (300, 0.1), (300, 0.02), seed=seed)
        assert in_portions(error_bytes(learning, scores=False), 50, config(name))[0] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_rise_is_noticed_soon_and_the_change_is_found(name: str) -> None:
    """Protects the reaction: what is kept after an alarm is what came after the change, roughly."""
    for seed in range(3):
        seen = error_bytes(errors((300, 0.05), (120, 0.6), seed=seed), scores=False)
        assert not watch(b"", seen[:300], config(name)).alarms
        watched, place = Watched(b""), 300
        while not watched.alarms:
            place += 4
            watched = watch(b"", seen[:place], config(name))
        assert place <= 400
        assert abs((place - watched.recent) - 300) <= 15


@pytest.mark.parametrize("name", NAMES)
def test_the_history_is_bounded_and_a_long_calm_stream_stays_calm(name: str) -> None:
    """Protects the cap: a thousand bytes at most; a detector that starts over raises no alarm by it."""
    seen = error_bytes(errors((4000, 0.08)), scores=False)
    alarms, watched = in_portions(seen, 400, config(name))
    assert alarms == []
    assert LONGEST // 2 <= len(watched.history) <= LONGEST


def test_the_threshold_is_the_detectors() -> None:
    """Protects a user who wants fewer alarms, or more."""
    seen = error_bytes(errors((500, 0.1), (60, 0.4)), scores=False)
    assert in_portions(seen, 10, config("page_hinkley", detector_threshold=5.0))[0]
    assert not in_portions(seen, 10, config("page_hinkley", detector_threshold=500.0))[0]


def test_the_change_point_is_where_the_mean_rises_most_clearly() -> None:
    """Protects the estimate at its edges: exact on clean steps, 0 where nothing rises."""
    assert change_point(bytes(30) + bytes([255] * 10)) == 30
    assert change_point(bytes([255] * 20) + bytes(30) + bytes([255] * 10)) == 50
    assert change_point(bytes([255] * 10) + bytes(10)) == 0
    assert change_point(bytes(10)) == change_point(b"\xff") == change_point(b"") == 0


def test_errors_are_bytes() -> None:
    """Protects scores without an upper end, and those of a model that diverged: their order stays."""
    assert error_bytes(np.array([0, 1, 1], np.float32), scores=False) == b"\x00\xff\xff"
    scores = np.array([0, 0.5, 1, 10, 1e30, np.inf, np.nan], np.float32)
    found = error_bytes(scores, scores=True)
    assert list(found) == sorted(found)
    assert (found[0], found[2], found[-1]) == (0, 128, 255)
