"""The streams in numbers: each follows from rows of the ledger, and is None where there are none for it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from phloem.ledger import Ledger
from phloem.rows import Row
from phloem.stream_rows import AnomalyScores, Baseline, Concept, Drift, Stream
from phloem.stream_summary import Compared, Streams, accuracy_matrix, summarise_streams


def told(round_number: int, client: str, correct: int, *, concept: int = 0, **more: object) -> Stream:
    values: dict[str, object] = {
        "round": round_number,
        "client": client,
        "position": 10 * round_number,
        "concept": concept,
        "samples": 10,
        "correct": correct,
        "loss": 1.0,
        "labels": None,
        "predicted": None,
        "alarms": 0,
        "skipped": 0,
        "memory_bytes": 0,
    }
    return Stream(**{**values, **more})  # type: ignore[arg-type]


def summary(folder: Path, rows: Iterable[Row]) -> Streams:
    with Ledger.create(folder / "run.sqlite", {}) as ledger:
        ledger.record(*rows)
        found = summarise_streams(ledger)
    assert found is not None
    return found


def test_accuracy_by_sample_and_by_client(tmp_path: Path) -> None:
    """Protects the figures of a plain run: means over samples, the worst client, the baselines beside."""
    rows = [told(1, "a", 2), told(1, "b", 9, skipped=3, memory_bytes=50), told(2, "b", 7)]
    found = summary(
        tmp_path, [*rows, Baseline(1, "no change", 20, 4, None), Baseline(2, "no change", 10, 2, None)]
    )
    assert (found.samples, found.clients, found.skipped, found.memory_bytes) == (30, 2, 3, 50)
    assert found.accuracy == pytest.approx(0.6)
    assert found.worst_clients == 0.2
    assert found.baselines == {"no change": Compared(0.2, None)}
    assert found.kappa_temporal == pytest.approx(0.5)
    assert found.accuracy_faded == pytest.approx(0.6, abs=0.01)
    assert (found.kappa, found.pr_auc, found.delay, found.forgetting, found.drifts_missed) == (None,) * 5


def test_kappa_is_over_the_rows_that_have_counts(tmp_path: Path) -> None:
    """Protects kappa from rows without counts, and from a client whose counts do not fit."""
    counted = told(1, "a", 8, labels="[6,4]", predicted="[6,4]")
    found = summary(tmp_path, [counted, told(2, "a", 0)])
    assert found.kappa == pytest.approx((0.8 - 0.52) / 0.48)
    odd = tmp_path / "odd"
    odd.mkdir()
    assert summary(odd, [told(1, "a", 8, labels="[6,4]", predicted="[6,3]")]).kappa is None


def test_drift_is_judged_by_client(tmp_path: Path) -> None:
    """Protects delays: another client's alarm explains nothing, and echoes are not false."""
    rows: list[Row] = [told(n, client, 5, alarms=0) for n in range(1, 201) for client in "ab"]
    rows += [Drift(50, "a", "scenario", 495, "swap"), Drift(150, "b", "scenario", 1500, "swap")]
    rows += [Drift(52, "a", "detector", 520, "2"), Drift(55, "b", "detector", 550, "1")]
    found = summary(tmp_path, rows)
    assert (found.drifts, found.drifts_missed, found.delay) == (2, 1, 25.0)
    assert found.alarms_false_per_1000 == pytest.approx(1000 / 4000)


def test_anomalies_have_an_area_and_no_accuracy(tmp_path: Path) -> None:
    """Protects imbalanced streams from accuracy, which is no measure there."""
    rows = [told(1, "a", 0), told(1, "b", 0)]
    scores = [
        AnomalyScores(1, "a", '{"100":5,"101":4}', '{"200":1}'),
        AnomalyScores(1, "b", '{"100":9}', '{"99":1}'),
    ]
    found = summary(tmp_path, [*rows, *scores, Baseline(1, "chance", 20, None, 0.1)])
    assert found.pr_auc is not None
    assert found.pr_auc.value == pytest.approx((1 + 2 / 20) / 2)
    assert (found.accuracy, found.worst_clients) == (None, None)
    assert found.baselines == {"chance": Compared(None, 0.1)}


def test_the_matrix_has_a_row_when_a_concept_was_learned() -> None:
    """Protects forgetting: rows and columns are concepts in the order in which they were last in force."""
    streams = [told(n, str(c), 5, concept=0 if n < 3 + c else 1) for n in range(1, 9) for c in range(3)]
    scores = [Concept(n, c, 0, 9, 1.0, (10 * n + c) / 100) for n in range(9) for c in (0, 1)]
    matrix = accuracy_matrix(scores, streams)
    assert matrix is not None
    # Concept 0 is in force for two of three clients until round 3.
    np.testing.assert_allclose(matrix, [[0.30, 0.31], [0.80, 0.81]])
    back = [*streams, *(told(9, str(c), 5, concept=0) for c in range(3))]
    again = accuracy_matrix([*scores, Concept(9, 0, 0, 9, 1.0, 0.9), Concept(9, 1, 0, 9, 1.0, 0.4)], back)
    assert again is not None
    np.testing.assert_allclose(again, [[0.81, 0.80], [0.4, 0.9]])
    assert accuracy_matrix(scores, streams[:6]) is None


def test_several_global_models_count_by_the_best() -> None:
    """Protects runs with a model for each group of clients: what one of them knows is not forgotten."""
    streams = [told(n, "a", 5, concept=n // 3) for n in range(1, 6)]
    scores = [
        Concept(n, c, m, 9, 1.0, 0.9 if c == m else 0.1) for n in range(6) for c in (0, 1) for m in (0, 1)
    ]
    matrix = accuracy_matrix(scores, streams)
    assert matrix is not None
    assert matrix.tolist() == [[0.9, 0.9], [0.9, 0.9]]


def test_no_samples_are_no_streams(tmp_path: Path) -> None:
    """Protects a killed run's folder."""
    with Ledger.create(tmp_path / "run.sqlite", {}) as ledger:
        assert summarise_streams(ledger) is None
