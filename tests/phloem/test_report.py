"""The report: one page that is complete, loads nothing, and trusts no client."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from phloem.errors import ConfigError, MissingExtra
from phloem.ledger import Evaluation, Ledger, Message, Rejection, Round, Stage
from phloem.report import page, write_report
from phloem.report.script import SCRIPT
from phloem.summary import summarise
from phloem.units import human_bytes, human_points, human_ratio, human_seconds, tick_bytes
from tests.phloem.plausible_run import Story, write_run

pytest.importorskip("plotly", reason="the extra `report` is not installed")
pytest.importorskip("jinja2", reason="the extra `report` is not installed")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
SETTINGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--enable-logging=stderr",
    "--virtual-time-budget=10000",
    "--window-size=1280,2000",
    "--dump-dom",
)


@dataclass(frozen=True)
class Visit:
    """What a browser made of a page: its document, its console, whom the page asked for something."""

    dom: str
    console: list[str]
    requests: list[str]


def visit(html: Path, work: Path) -> Visit:
    """Open a page in a headless browser that can resolve no name."""
    assert CHROMIUM is not None
    log = work / "net.json"
    places = [f"--user-data-dir={work / 'profile'}", f"--log-net-log={log}"]
    done = subprocess.run(
        [CHROMIUM, *SETTINGS, *places, "--host-resolver-rules=MAP * ~NOTFOUND", html.as_uri()],
        capture_output=True,
        check=True,
        timeout=60,
        encoding="utf-8",
    )
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    requests = set()
    for event in json.loads(log.read_text(encoding="utf-8"))["events"]:
        asked = event.get("params", {})
        # What the browser itself asks for (its clock, its account) has no origin; a page has one.
        if "url" in asked and asked.get("initiator", "not an origin") != "not an origin":
            requests.add(asked["url"])
    return Visit(done.stdout, console, sorted(requests))


class Reader(HTMLParser):
    """Counts the points that are drawn in each figure, and keeps the texts of table cells."""

    def __init__(self) -> None:
        super().__init__()
        self.points: Counter[str] = Counter()
        self.cells: list[str] = []
        self._figure = ""
        self._in_cell = False

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        """Note where we are."""
        values = dict(attrs)
        classes = (values.get("class") or "").split()
        if "figure" in classes:
            self._figure = values.get("id") or ""
        if "point" in classes:
            self.points[self._figure] += 1
        self._in_cell = tag == "td"

    def handle_data(self, data: str) -> None:
        """Keep a cell's text."""
        if self._in_cell:
            self.cells.append(data)
            self._in_cell = False


def read(text: str) -> Reader:
    """Read a page or a browser's document, without the scripts' megabytes."""
    reader = Reader()
    reader.feed(re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL))
    return reader


def figures_of(html: str) -> dict[str, int]:
    """Return how many points each figure of a written page should show."""
    found = re.search(r'id="figures">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    return {f["name"]: sum(len(trace["x"]) for trace in f["traces"]) for f in json.loads(found[1])}


@needs_chromium
def test_a_browser_draws_every_figure_and_asks_nobody_for_anything(tmp_path: Path) -> None:
    """Protects the promise of the page: complete, without an error, offline."""
    written = write_report(write_run(tmp_path / "run"))
    expected = figures_of(written.read_text(encoding="utf-8"))
    assert list(expected) == ["accuracy", "bytes", "stages-0", "stages-1", "stages-2", "distillation"]
    seen = visit(written, tmp_path)
    assert seen.console == []
    assert seen.requests == []
    assert read(seen.dom).points == expected


@needs_chromium
def test_the_browser_would_have_told(tmp_path: Path) -> None:
    """Protects the test above from being blind: a page that breaks and calls home is seen to."""
    bad = tmp_path / "bad.html"
    bad.write_text("<img src='http://elsewhere.example/x.png'><script>absent()</script>", encoding="utf-8")
    seen = visit(bad, tmp_path)
    assert seen.requests == ["http://elsewhere.example/x.png"]
    assert "absent is not defined" in seen.console[0]


@needs_chromium
def test_the_table_of_clients_sorts_by_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects sorting: 2 kB come before 10 kB, and a second click turns the order round."""
    clicks = "\ndocument.querySelector('th button').click();" * 2
    monkeypatch.setattr(page, "SCRIPT", SCRIPT + clicks)
    story = Story(rounds=12, clients=12, distills=False, rejects=False)
    seen = visit(write_report(write_run(tmp_path / "run", story, reference=False)), tmp_path)
    names = [cell for cell in read(seen.dom).cells if cell.startswith("client")]
    assert seen.console == []
    assert len(names) == 12
    assert names == sorted(names)


def test_the_page_says_what_the_ledger_says(tmp_path: Path) -> None:
    """Protects the numbers in words, and everything that is needed to do it again."""
    run = write_run(tmp_path / "run")
    html = write_report(run).read_text(encoding="utf-8")
    with Ledger.open(run / "run.sqlite") as ledger:
        digest, up = ledger.digest(), ledger.totals("up")
    assert f"{human_bytes(up.payload_bytes)} instead of {human_bytes(up.dense_bytes)}" in html
    for text in (digest, "5e0f" * 16, "torch 2.13.0", "phloem simulate experiment.toml", "dirichlet:0.3"):
        assert text in html
    for title in ("Rejected updates", "Distillation", "Clients", "points less than"):
        assert title in html
    assert [path.name for path in run.glob("report*")] == ["report.html"]


def test_empty_sections_are_left_out(tmp_path: Path) -> None:
    """Protects a killed run's page: no empty figure, no invented number."""
    run = write_run(tmp_path / "run", Story(rounds=0, clients=0), reference=False)
    (run / "experiment.toml").unlink()
    html = write_report(run).read_text(encoding="utf-8")
    assert "Nothing was sent yet" in html
    assert figures_of(html) == {}
    for title in ("Rejected updates", "Distillation</h2>", "<h2>Clients"):
        assert title not in html
    assert "There is no experiment.toml" in html


def test_accuracies_are_compared_by_the_mean_of_the_last_evaluations(tmp_path: Path) -> None:
    """Protects the headline from one lucky round: the last alone is in small print."""
    run = write_run(tmp_path / "run", Story(rounds=9), reference=True)
    for folder, last in ((run, 1.0), (run / "reference", 0.0)):
        with Ledger.resume(folder / "run.sqlite", last_round=9) as ledger:
            ledger.record(*(Evaluation(n, "test", 9, 1.0, 0.5) for n in (10, 11, 12, 13)))
            ledger.record(Evaluation(14, "test", 9, 1.0, last))
    html = write_report(run).read_text(encoding="utf-8")
    assert "right on 60.0 % of the test samples: 20.0 points more than" in html
    assert "dense: 40.0 %; the last alone: +100.0" in html


def test_a_run_seldom_evaluated_is_judged_by_its_end(tmp_path: Path) -> None:
    """Protects the headline from evaluations of the beginning: they would make half of the accuracy."""
    run = write_run(tmp_path / "run", Story(rounds=0), reference=False)
    with Ledger.resume(run / "run.sqlite", last_round=0) as ledger:
        for n in (10, 20, 30):
            ledger.record(Round(n, n, 1, 1, 0, 1.0, None, None), Evaluation(n, "test", 9, 1.0, n / 50))
    summary = summarise(run)
    assert (summary.settled, summary.accuracy) == (False, 0.6)
    html = write_report(run).read_text(encoding="utf-8")
    assert "right on 60.0 % of the test samples" in html
    assert "of the last evaluation</dd>" in html


def test_an_unfinished_run_is_called_so(tmp_path: Path) -> None:
    """Protects the reader from taking half a run for a whole one."""
    run = write_run(tmp_path / "run", Story(rounds=3), reference=False)
    with Ledger.resume(run / "run.sqlite", last_round=2) as ledger:
        ledger.fact("state", "interrupted")
    assert "The run is not finished: interrupted." in write_report(run).read_text(encoding="utf-8")


def test_names_and_reasons_from_clients_stay_text(tmp_path: Path) -> None:
    """Protects the reader's browser from a client's name, a reason or a stage that is markup."""
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
    run = write_run(tmp_path / "run", Story(rounds=2), reference=False)
    message = Message(3, evil, "up", "train", evil, 0, 1, 9, 9, None, 9, None, None)
    with Ledger.resume(run / "run.sqlite", last_round=2) as ledger:
        ledger.record(message, replace(message, direction="down"))
        ledger.record(*(Stage(3, evil, "up", i, evil, 9) for i in range(2)), Rejection(3, evil, evil, evil))
    html = write_report(run).read_text(encoding="utf-8")
    assert evil not in html
    assert html.count("<script>") == 2
    assert html.count("<img src=x") == html.count("<script>alert") == 0


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects the user of a bare install: what to type."""
    run = write_run(tmp_path / "run", Story(rounds=1), reference=False)
    for module in ("plotly.offline", "jinja2"):
        with monkeypatch.context() as absent:
            absent.setitem(sys.modules, module, None)
            with pytest.raises(MissingExtra, match=r'pip install "phloem\[report\]"'):
                write_report(run)
    assert not (run / "report.html").exists()


def test_the_package_imports_without_the_extra() -> None:
    """Protects a bare install, and a quick start: only writing a report needs the extra."""
    code = (
        "import sys; sys.modules['plotly'] = sys.modules['jinja2'] = None\n"
        "import phloem.report; phloem.report.write_report"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_folder_without_a_run_is_named(tmp_path: Path) -> None:
    """Protects the user who names a wrong folder."""
    with pytest.raises(ConfigError, match="no file there"):
        write_report(tmp_path)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (210, "210 B"),
        (12.345, "12.3 B"),
        (999.4, "999 B"),
        (999.5, "1.00 kB"),
        (42_000, "42.0 kB"),
        (999_499, "999 kB"),
        (15_376_000, "15.4 MB"),
        (2e9, "2.00 GB"),
        (5e15, "5,000 TB"),
        (None, "–"),  # noqa: RUF001  (the table's sign for unknown)
    ],
)
def test_bytes_are_in_thousands(size: float | None, text: str) -> None:
    """Protects the unit: 1 kB is 1000 bytes, always to three digits."""
    assert human_bytes(size) == text


def test_numbers_read_well() -> None:
    """Protects the other formats where they turn over."""
    assert [tick_bytes(size) for size in (0, 500, 2_500, 30_000)] == ["0 B", "500 B", "2.5 kB", "30 kB"]
    assert [human_points(d) for d in (0.0123, -0.0004, 0.0)] == ["+1.2", "±0.0", "±0.0"]
    assert [human_seconds(s) for s in (0.312, 59.96, 200, 7_500)] == [
        "0.312 s",
        "1 min 0 s",
        "3 min 20 s",
        "2 h 5 min",
    ]
    assert [human_ratio(r)[:-1] for r in (42.71, 0.9812, 1234.0)] == ["42.7", "0.981", "1,230"]
