"""Write a run's report: ask the ledger, draw the figures, put both into one page."""

from __future__ import annotations

import base64
import hashlib
import importlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phloem.errors import MissingExtra
from phloem.ledger import CLASS_NAMES, Distillation, Ledger, Rejection
from phloem.report import questions, stream_questions
from phloem.report.figures import (
    Figure,
    accuracy_figure,
    bytes_figure,
    distillation_figure,
    ladder_figures,
)
from phloem.report.headline import Headline, headline
from phloem.report.scenario_figures import CLIENTS_DRAWN, matrix_figure, mix_figure
from phloem.report.script import SCRIPT
from phloem.report.stream_figures import anomaly_figure, drift_figure, prequential_figure, spread_figure
from phloem.report.stream_questions import Cost
from phloem.report.style import STYLE
from phloem.report.template import PAGE
from phloem.summary import LEDGER_NAME, REFERENCE_NAME, Summary, summarise
from phloem.units import human_bytes, human_percent

REPORT_NAME = "report.html"
EXPERIMENT_NAME = "experiment.toml"
CLIENTS_SHOWN = 500  # a table of more rows is not read; run.sqlite has them all
REJECTIONS_SHOWN = 50
LADDERS_SHOWN = 2


@dataclass(frozen=True, slots=True)
class Page:
    """What the template shows, in its order; a None or an empty list leaves its section out."""

    name: str
    headline: Headline
    accuracy: Figure | None
    bytes: Figure | None
    ladders: list[Figure]
    distillation: Figure | None
    prequential: Figure | None
    anomalies: Figure | None
    drift: Figure | None
    concepts: Figure | None
    mix: Figure | None
    spread: Figure | None
    costs: list[Cost]
    rejected: list[tuple[str, int, int, str]]
    rejections: list[Rejection]
    clients: list[questions.ClientRow]
    summary: Summary
    facts: dict[str, str]
    versions: str
    experiment: str | None

    @property
    def figures(self) -> list[dict[str, Any]]:
        """All figures, in the order of the page, as plotly.js takes them."""
        streams = [self.prequential, self.anomalies, self.drift, self.concepts, self.mix, self.spread]
        found = [self.accuracy, *streams, self.bytes, *self.ladders, self.distillation]
        return [
            {"name": figure.name, "traces": figure.traces, "layout": figure.layout}
            for figure in found
            if figure is not None
        ]


def write_report(run_dir: Path) -> Path:
    """Write `report.html` into a run's folder: one page that loads nothing from anywhere.

    Raises:
        ConfigError: the folder holds no ledger that this version reads.
        MissingExtra: plotly or jinja2 is not installed.
    """
    jinja2, plotly = _extra("jinja2"), _extra("plotly.offline")
    plotly_js: str = plotly.get_plotlyjs()
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["bytes"] = human_bytes
    environment.filters["percent"] = human_percent
    html = environment.from_string(PAGE).render(
        page=_gather(run_dir),
        style=STYLE,
        scripts=[plotly_js, SCRIPT],
        script_hashes=" ".join(_script_hash(text) for text in (plotly_js, SCRIPT)),
        clients_shown=CLIENTS_SHOWN,
        rejections_shown=REJECTIONS_SHOWN,
    )
    path = run_dir / REPORT_NAME
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(html, encoding="utf-8", newline="\n")
    unfinished.replace(path)
    return path


def _gather(run_dir: Path) -> Page:
    summary = summarise(run_dir)
    dense: list[questions.Progress] = []
    if summary.reference is not None:
        with Ledger.open(run_dir / REFERENCE_NAME / LEDGER_NAME) as ledger:
            dense = questions.progress(ledger)
    experiment = run_dir / EXPERIMENT_NAME
    with Ledger.open(run_dir / LEDGER_NAME) as ledger:
        facts = ledger.facts()
        progress, events = questions.progress(ledger), stream_questions.events(ledger)
        anomalous = summary.streams is not None and summary.streams.pr_auc is not None
        ladders = [
            ladder
            for direction in questions.DIRECTIONS
            for ladder in questions.ladders(ledger, direction)[:LADDERS_SHOWN]
        ]
        return Page(
            name=run_dir.resolve().name,
            headline=headline(summary, questions.wire_bytes(ledger), facts.get("state", "finished")),
            accuracy=None if anomalous else accuracy_figure(progress, dense),
            bytes=bytes_figure(questions.bytes_by_round(ledger)),
            ladders=ladder_figures(ladders),
            distillation=distillation_figure(ledger.read(Distillation)),
            prequential=prequential_figure(stream_questions.curves(ledger), events, summary.rounds),
            anomalies=anomaly_figure(stream_questions.area_by_part(ledger), summary.streams),
            drift=drift_figure(events, summary.streams, stream_questions.deeds(ledger)),
            concepts=matrix_figure(None if anomalous else stream_questions.matrix(ledger)),
            mix=mix_figure(
                stream_questions.mixes(ledger, CLIENTS_DRAWN), json.loads(facts.get(CLASS_NAMES, "[]"))
            ),
            spread=spread_figure(stream_questions.client_scores(ledger), summary.streams),
            costs=[] if anomalous else stream_questions.costs(ledger, progress),
            rejected=questions.rejections_by_code(ledger),
            rejections=ledger.read(Rejection)[:REJECTIONS_SHOWN],
            clients=questions.clients(ledger, CLIENTS_SHOWN),
            summary=summary,
            facts=facts,
            versions=", ".join(
                f"{key.removeprefix('version_')} {value}"
                for key, value in facts.items()
                if key.startswith("version_")
            ),
            experiment=experiment.read_text(encoding="utf-8") if experiment.exists() else None,
        )


def _extra(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(
            f"The report needs {module.partition('.')[0]}. Found that it is not installed. "
            'Install it with: pip install "phloem[report]"'
        ) from error


def _script_hash(text: str) -> str:
    """Return what the page's policy names a script by: no other runs, whatever a client is called."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
