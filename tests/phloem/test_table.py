"""The table at the end of a run: sizes in words, and nothing in it that was not measured."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from phloem.measures.precision import Area
from phloem.stream_summary import Compared, Streams
from phloem.summary import Reference, Summary, Traffic
from phloem.table import both_ways, closing_table
from phloem.units import human_bytes

DENSE = Traffic(payload_bytes=1_050_000, object_bytes=1_100_000, dense_bytes=1_000_000, saved_ratio=1 / 1.05)
UP = Traffic(payload_bytes=20_000, object_bytes=56_000, dense_bytes=1_000_000, saved_ratio=50.0)
DOWN = Traffic(payload_bytes=80_000, object_bytes=99_949, dense_bytes=1_000_000, saved_ratio=12.5)
SUMMARY = Summary(
    accuracy=0.915,
    accuracy_mean5=0.9,
    rounds=40,
    clients=20,
    rejected=3,
    uplink=UP,
    downlink=DOWN,
    reference=Reference(0.93, 0.925, DENSE, DENSE),
    seconds=4.25,
    client_updates_per_second=90.0,
    model_sha256="ab",
    ledger_sha256="cd",
    run_dir="runs/x",
)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (999.6, "1.00 kB"),
        (1000, "1.00 kB"),
        (9994, "9.99 kB"),
        (9996, "10.0 kB"),
        (99_949, "99.9 kB"),
        (99_951, "100 kB"),
        (999_499, "999 kB"),
        (999_501, "1.00 MB"),
        (12_345_678, "12.3 MB"),
        (5e9, "5.00 GB"),
        (7e15, "7,000 TB"),
    ],
)
def test_sizes_have_three_digits_and_never_four(count: float, text: str) -> None:
    """Protects comparing at a glance, also where rounding reaches the next unit."""
    assert human_bytes(count) == text


def rows(summary: Summary) -> dict[str, list[str]]:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(closing_table(summary))
    cells = [line.strip("│").split("│") for line in console.export_text().splitlines() if "│" in line]
    return {name.strip(): [cell.strip() for cell in others] for name, *others in cells}


def test_the_run_stands_beside_its_reference() -> None:
    """Protects the claim of the table: each number is the summary's, those of the dense run too."""
    found = rows(SUMMARY)
    assert found["accuracy, last"] == ["91.5 %", "93.0 %"]
    assert found["up: payload"] == ["20.0 kB", "1.05 MB"]
    assert found["down: with Flower's objects"] == ["99.9 kB", "1.10 MB"]
    assert found["up: saved"] == ["50.0x", "1.0x"]
    assert found["both ways: saved"] == ["20.0x", "1.0x"]
    assert found["rejected replies"] == ["3", ""]


def test_the_reference_is_measured_like_the_run() -> None:
    """Protects honesty: what dense frames cost is their bytes, not an assumed 1."""
    wasteful = replace(DENSE, payload_bytes=4_000_000)
    found = rows(replace(SUMMARY, reference=Reference(0.9, 0.9, wasteful, wasteful)))
    assert found["both ways: saved"] == ["20.0x", "0.2x"]


def test_without_a_reference_there_is_no_column_for_it() -> None:
    """Protects runs with --no-reference: no empty column that looks like zeros."""
    assert {len(cells) for cells in rows(replace(SUMMARY, reference=None)).values()} == {1}


def test_streams_stand_beside_their_baselines() -> None:
    """Protects the comparison: the run's own figure first, and no row for what was not measured."""
    streams = Streams(
        samples=100,
        clients=2,
        accuracy=0.8,
        accuracy_faded=0.9,
        worst_clients=0.5,
        kappa=None,
        kappa_temporal=None,
        pr_auc=None,
        drifts=0,
        alarms=0,
        drifts_missed=None,
        delay=None,
        alarms_false_per_1000=None,
        concepts=0,
        concepts_accuracy=None,
        forgetting=None,
        backward_transfer=None,
        skipped=0,
        memory_bytes=0,
        baselines={"majority": Compared(0.25, None)},
    )
    untested = replace(SUMMARY, accuracy=None, accuracy_mean5=None, reference=None, streams=streams)
    assert not any(name.startswith("accuracy") for name in rows(untested)), "there was no test to tell of"
    found = rows(replace(SUMMARY, streams=streams))
    assert found["prequential accuracy"] == ["80.0 %", ""]
    assert found["majority"] == ["25.0 %", ""]
    assert found["worst tenth of clients"] == ["50.0 %", ""]
    anomalies = replace(streams, pr_auc=Area(0.5, 0.4, 0.6), baselines={"chance": Compared(None, 0.1)})
    more = rows(replace(SUMMARY, streams=replace(anomalies, forgetting=0.25, concepts=3, delay=64.0)))
    assert (more["PR-AUC, anomalies"], more["chance"]) == (["50.0 %", ""], ["10.0 %", ""])
    assert more["forgetting, 3 concepts"] == ["25.0 %", ""]
    assert more["drift noticed after, median"] == ["64 samples", ""]
    assert set(rows(SUMMARY)) < set(found) < set(found) | set(more)


def test_who_was_rejected_is_told_why() -> None:
    """Protects the user from a number alone: how many for which reason, and the last reason in words."""
    rejected = replace(
        SUMMARY,
        rejections={"failure": 2, "norm": 1},
        why_rejected="round 7, client 3: [2] OSError: unplugged",
    )
    found = rows(rejected)
    assert (found["failure"], found["norm"]) == (["2", ""], ["1", ""])
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(closing_table(rejected))
    assert "Rejected last: round 7, client 3: [2] OSError" in console.export_text()


def test_what_was_not_measured_is_a_dash() -> None:
    """Protects a run without a test set or without any message: no number is made up."""
    nothing = Traffic(0, 0, 0, None)
    found = rows(replace(SUMMARY, accuracy=None, accuracy_mean5=None, uplink=nothing, downlink=nothing))
    assert found["accuracy, last"] == ["-", "93.0 %"]
    assert found["both ways: saved"] == ["-", "1.0x"]
    assert rows(replace(SUMMARY, accuracy=None, reference=None))["accuracy, last"] == ["-"]
    assert "accuracy, mean of last 5" not in rows(replace(SUMMARY, settled=False))
    assert both_ways(nothing, nothing) is None
