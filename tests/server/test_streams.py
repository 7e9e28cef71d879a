"""What clients tell of their streams: kept as told where it can be, refused where it cannot."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phloem.errors import RejectedUpdate
from phloem.federation import Drift as Change
from phloem.federation import Federation, Samples
from phloem.ledger import Ledger
from phloem.measures.histogram import count_scores, pack_counts
from phloem.protocol import Reply
from phloem.server.streams import check_told, drifts_between, stream_rows
from phloem.stream_rows import AnomalyScores, Drift, Stream

COUNTS = np.array([20, 12], "<u4").tobytes()


def told(client: str = "0", samples: int = 32, **changes: Any) -> Reply:
    fields = Reply(client, 1, 1, 1, samples, 1.0, 0, b"", 0.0, 0.0, 0.0).to_mapping()
    return Reply.from_mapping({**fields, **changes})


def federation(length: int = 100, change: int = 40) -> Federation:
    """Return two clients of which the second drifts, and begins again under its first concept."""
    share = Samples(np.zeros((length, 2), np.float32), np.zeros(length, np.int64))
    none = share.take(slice(0, 0))
    still, moving = np.zeros(length, np.int32), (np.arange(length) >= change).astype(np.int32)
    return Federation(
        shares=(share, share),
        test=none,
        validation=none,
        proxy=none.x,
        classes=2,
        input_shape=(2,),
        concepts=(still, moving),
        views=(lambda samples: samples, lambda samples: samples),
        drifts=(Change(1, change, change, "abrupt", "swap"),),
    )


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.create(tmp_path / "run.sqlite", {}) as made:
        yield made


def test_a_round_is_written_as_told(ledger: Ledger) -> None:
    """Protects every figure that is drawn from it: counts, alarms, scores, and where the stream is."""
    histogram = pack_counts(count_scores([1.0, 1.0, 9.0], [0, 0, 1]))
    first = told(
        correct=7, class_counts=COUNTS, alarms=2, skipped=3, memory_bytes=9, score_histogram=histogram
    )
    rows = stream_rows(ledger, 1, [first, told("1")], federation())
    assert rows[0] == Stream(1, "0", 32, 0, 32, 7, 1.0, "[20,12]", None, 2, 3, 9)
    assert rows[1] == Drift(1, "0", "detector", 32, "2")
    assert isinstance(rows[2], AnomalyScores)
    assert list(json.loads(rows[2].normal).values()) == [2]
    assert list(json.loads(rows[2].anomalous).values()) == [1]
    ledger.record(*rows)
    later = stream_rows(ledger, 4, [told("1")], federation())
    assert [row for row in later if isinstance(row, Stream)] == [
        Stream(4, "1", 64, 1, 32, 0, 1.0, None, None, 0, 0, 0)
    ]
    assert later[1:] == [Drift(4, "1", "scenario", 40, "swap")]


def test_who_had_nothing_new_leaves_no_row(ledger: Ledger) -> None:
    """Protects positions: an idle client's stream stands still; rows it passed over are told."""
    assert stream_rows(ledger, 1, [told(samples=0)], federation()) == []
    assert len(stream_rows(ledger, 1, [told(samples=0, skipped=4)], federation())) == 1


def test_a_device_of_its_own_name_has_no_known_truth(ledger: Ledger) -> None:
    """Protects real devices: the source's scenario is not theirs."""
    for name in ("camera", "2", "²"):
        [row] = stream_rows(ledger, 1, [told(name, samples=90)], federation())
        assert isinstance(row, Stream)
        assert row.concept == 0


def test_a_stream_that_begins_again_drifts_again() -> None:
    """Protects the truth in long runs: the change comes once a pass, and going back is one too."""
    assert list(drifts_between(federation(), 1, 0, 250)) == [
        (40, "swap"),
        (100, "again"),
        (140, "swap"),
        (200, "again"),
        (240, "swap"),
    ]
    assert list(drifts_between(federation(), 0, 0, 250)) == []
    assert list(drifts_between(federation(), 1, 41, 100)) == []
    parts = [
        place for start in range(0, 250, 7) for place in drifts_between(federation(), 1, start, start + 7)
    ]
    assert [place for place, _ in parts] == [40, 100, 140, 200, 240]


@pytest.mark.parametrize(
    "changes",
    [
        {"predicted_counts": b"abc"},
        {"predicted_counts": np.array([20, 13], "<u4").tobytes()},
        {"predicted_counts": np.array([2**32 - 1] * 2, "<u4").tobytes()},
        {"score_histogram": b"abc"},
        {"score_histogram": b"\x00\x02\x01\x00"},
        {"score_histogram": b"\x00\x00\xff\xff"},
        {"alarms": -1},
        {"alarms": 33},
        {"skipped": -1},
        {"skipped": 1001},
        {"memory_bytes": -1},
        {"memory_bytes": 2**62 + 1},
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any]) -> None:
    """Protects the ledger: no word of a client's breaks a run or fills a disk."""
    with pytest.raises(RejectedUpdate):
        check_told(told(**changes), classes=2, max_samples=1000)


def test_what_can_be_passes() -> None:
    """Protects honest clients at the limits."""
    check_told(told(), 2, 1000)
    check_told(told(predicted_counts=COUNTS, alarms=32, skipped=1000, memory_bytes=2**62), 2, 1000)
