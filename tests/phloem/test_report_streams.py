"""The report's sections on streams: there where the run has data for them, and drawn without an error."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phloem.ledger import Ledger
from phloem.report import write_report
from phloem.report.headline import headline
from phloem.report.questions import Progress
from phloem.report.scenario_figures import mix_figure
from phloem.report.stream_questions import MixPart, costs, mixes
from phloem.rows import Row
from phloem.stream_rows import AnomalyScores, Baseline, Concept, Drift, Mix, Reaction, Stream
from phloem.summary import summarise
from tests.phloem.plausible_run import Story, write_run
from tests.phloem.test_report import needs_chromium, read, visit

pytest.importorskip("plotly", reason="the extra `report` is not installed")
pytest.importorskip("jinja2", reason="the extra `report` is not installed")

CLIENTS, ROUNDS, CLASSES = 12, 30, 12
EVIL = "</script><script>alert(1)</script>"


def streams(rng: np.random.Generator) -> list[Row]:
    """Return a run in which half of the clients drift after 15 rounds and all of them say so."""
    found: list[Row] = []
    for number in range(1, ROUNDS + 1):
        for client in range(CLIENTS):
            drifts = number == 15 and client % 2 == 0
            name = f"client {client:02d}"
            labels = rng.multinomial(32, rng.dirichlet(np.ones(CLASSES))).tolist()
            right = int(rng.binomial(32, 0.2 + 0.01 * number + 0.02 * client))
            concept = int(number >= 15)
            found += [
                Stream(number, name, 32 * number, concept, 32, right, 1.0, None, None, int(drifts), 0, 4000),
                Mix(number, name, json.dumps(labels)),
            ]
            if drifts:
                found += [
                    Drift(number, name, "scenario", 32 * number - 20, "swap"),
                    Drift(number, name, "detector", 32 * number, "1"),
                ]
        if number == 16:
            found.append(Reaction(number, "client 00", "moved", 1))
        found += [Concept(number, c, 0, 90, 1.0, min(0.9, 0.3 + number / 60)) for c in (0, 1)]
        found += [Baseline(number, name, 32 * CLIENTS, 90, None) for name in ("majority", "no change")]
    return found


def page(folder: Path, rows: list[Row]) -> Path:
    run = write_run(folder, Story(rounds=ROUNDS, clients=CLIENTS, distills=False), reference=False)
    with Ledger.resume(run / "run.sqlite", last_round=ROUNDS) as ledger:
        ledger.record(*rows)
    return write_report(run)


def figures_of(html: Path) -> dict[str, Any]:
    found = re.search(r'id="figures">(.*?)</script>', html.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return {figure["name"]: figure for figure in json.loads(found[1])}


@needs_chromium
def test_a_browser_draws_the_streams(tmp_path: Path) -> None:
    """Protects every section of a run with drift: complete, without an error, offline."""
    written = page(tmp_path / "run", streams(np.random.default_rng(3)))
    figures = figures_of(written)
    assert list(figures)[:6] == ["accuracy", "prequential", "drift", "concepts", "mix", "spread"]
    seen = visit(written, tmp_path)
    assert (seen.console, seen.requests) == ([], [])
    points = read(seen.dom).points
    for name in ("drift", "mix", "spread"):
        assert points[name] == sum(len(trace["x"]) for trace in figures[name]["traces"]) > 0
    assert [trace["name"] for trace in figures["prequential"]["traces"]] == [
        "This run",
        "This run, last 1,000 samples",
        "Majority",
        "No change",
    ]
    assert figures["prequential"]["layout"]["shapes"][0]["x0"] == 15


def test_the_page_says_how_good_the_alarms_were(tmp_path: Path) -> None:
    """Protects the words: how many changes were noticed, how late, and what a measure cost."""
    html = page(tmp_path / "run", streams(np.random.default_rng(3))).read_text(encoding="utf-8")
    assert "6 changes by the scenario, 6 alarms by detectors." in html
    assert "6 of 6 changes had an alarm within 1,000 samples, after 20 samples in the median" in html
    assert "What a measure cost" in html
    assert "A client changed to the other model 1 time." in html


def test_anomalies_are_not_shown_as_accuracy(tmp_path: Path) -> None:
    """Protects imbalanced streams: PR-AUC with its bounds, and no accuracy anywhere."""
    rows: list[Row] = []
    for number in range(1, ROUNDS + 1):
        rows.append(Stream(number, "client 00", 32 * number, 0, 32, 0, 1.0, None, None, 0, 0, 0))
        rows.append(AnomalyScores(number, "client 00", '{"100":30,"120":1}', '{"120":1}'))
    rows.append(Baseline(ROUNDS, "half-space trees", 960, None, 0.2))
    written = page(tmp_path / "run", rows)
    html = written.read_text(encoding="utf-8")
    assert "The PR-AUC of their anomaly scores is 50.0 %." in html
    assert "half-space trees: 20.0 %" in html
    assert "Test accuracy</dt>" not in html
    figures = figures_of(written)
    assert list(figures)[:2] == ["anomalies", "bytes"]
    own, trees = figures["anomalies"]["traces"]
    assert own["y"] == [50.0] * 12
    assert own["error_y"]["array"] == [50.0] * 12
    assert trees["y"] == [20.0, 20.0]


def test_without_a_test_set_the_headline_is_of_the_stream(tmp_path: Path) -> None:
    """Protects the glance at a run whose future is its test: what it came to, not that there was no test."""
    page(tmp_path / "run", streams(np.random.default_rng(3)))
    summary = replace(summarise(tmp_path / "run"), accuracy=None, accuracy_mean5=None)
    assert summary.streams is not None
    right = f"{100 * (summary.streams.accuracy or 0):.1f} %"
    found = headline(summary, (None, None), "finished")
    assert f"They were right on {right} of the samples before learning" in found.sentence
    assert [tile.label for tile in found.tiles[2:]] == ["Prequential accuracy", "Against the best baseline"]
    assert (found.tiles[2].value, found.tiles[3].note) == (right, "majority: 23.4 %")


def test_names_of_clients_and_changes_stay_text(tmp_path: Path) -> None:
    """Protects the reader's browser from a client's name or a scenario's word that is markup."""
    rows: list[Row] = [
        Stream(n, name, 32 * n, 0, 32, 9, 1.0, "[32,0]", None, 1, 0, 0)
        for n in (1, 2)
        for name in (EVIL, "b")
    ]
    rows += [Drift(1, EVIL, "scenario", 5, EVIL), Baseline(1, EVIL, 64, 10, None)]
    html = page(tmp_path / "run", rows).read_text(encoding="utf-8")
    assert EVIL not in html
    assert html.count("<script>") == 2


def test_a_run_that_told_nothing_has_no_such_section(tmp_path: Path) -> None:
    """Protects older and broken-off runs: no empty figure."""
    assert list(figures_of(page(tmp_path / "run", [])))[:2] == ["accuracy", "bytes"]


def test_the_mix_adds_up(tmp_path: Path) -> None:
    """Protects the picture: every round is in one part, shares sum to 1, rare classes share a colour."""
    page(tmp_path / "run", streams(np.random.default_rng(3)))
    with Ledger.open(tmp_path / "run" / "run.sqlite") as ledger:
        parts = mixes(ledger, 3)
    assert len(parts) == 3 * 24
    own = [part for part in parts if part.client == "client 00"]
    rounds = [n for part in own for n in range(part.first_round, part.last_round + 1)]
    assert rounds == list(range(1, ROUNDS + 1))
    figure = mix_figure(parts)
    assert figure is not None
    assert [trace["name"] for trace in figure.traces][-1] == "3 others"
    heights = sum(sum(trace["y"]) for trace in figure.traces)
    assert heights == pytest.approx(0.86 * len(parts))
    named = mix_figure([MixPart("a", 0, 1, 1, (0.5, 0.25, 0.25))], ("down", "up"))
    assert named is not None
    assert [trace["name"] for trace in named.traces] == ["down", "up", "class 2"]


def test_what_a_measure_cost(tmp_path: Path) -> None:
    """Protects the table: bytes until a target, and for a point."""
    with Ledger.create(tmp_path / "run.sqlite", {}) as ledger:
        [found] = costs(ledger, [Progress(0, 0, 0.1), Progress(1, 900, 0.55), Progress(2, 1800, 0.85)])
        assert costs(ledger, [Progress(0, 0, 0.1)]) == []
    assert (found.before, found.after) == (0.1, 0.85)
    assert found.per_point == pytest.approx(24.0)
    assert found.reached == ((0.5, 900), (0.6, 1800), (0.7, 1800), (0.8, 1800))
