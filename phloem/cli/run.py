"""What the verbs share that make a run or show one: the bar, the way out, the closing words."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from phloem.cli.console import INTERRUPTED, err, out, say
from phloem.cli.interrupt import remembered
from phloem.errors import ConfigError, MissingExtra
from phloem.summary import Summary, summarise
from phloem.table import closing_table

if TYPE_CHECKING:
    from phloem.simulation.run import Progress as RoundDone

OnProgress = Callable[["RoundDone"], None]
"""What hears of every finished round."""


def run_and_show(
    run: Callable[[OnProgress], object], directory: Path, as_json: bool, go_on: str = ""
) -> None:
    """Make a run in `directory` behind a bar, and say what came of it; `go_on` is how, if not by resume."""
    try:
        with remembered() as check, _progress(check, quiet=as_json) as on_progress:
            run(on_progress)
        page = _report(directory)
    except KeyboardInterrupt:
        _interrupted(directory, go_on or f"phloem resume {shlex.quote(str(directory))}")
    show(summarise(directory), page, as_json)


def show(summary: Summary, page: Path | None, as_json: bool) -> None:
    """Print a run as one JSON object, or as a table with its hashes and where it is."""
    if as_json:
        print(json.dumps(summary.as_dict(), indent=2))
        return
    out.print(closing_table(summary))
    lines = [f"model {summary.model_sha256}", f"ledger {summary.ledger_sha256}", f"folder {summary.run_dir}"]
    lines += [f"page {page}"] if page else []
    out.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def _interrupted(directory: Path, go_on: str) -> NoReturn:
    try:
        rounds = summarise(directory).rounds
    except ConfigError:
        say("Interrupted before the run began. Nothing was written.")
    else:
        say(
            f"Interrupted. The ledger and the model after round {rounds} are in {directory}. "
            f"To go on: {go_on}"
        )
    raise typer.Exit(INTERRUPTED)


@contextmanager
def _progress(check: Callable[[], None], *, quiet: bool) -> Iterator[OnProgress]:
    columns = [
        TextColumn("{task.description:<9}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[accuracy]}"),
    ]
    with Progress(*columns, console=err, disable=quiet or not sys.stderr.isatty()) as bar:
        tasks: dict[str, TaskID] = {}

        def on_progress(done: RoundDone) -> None:
            if done.run not in tasks:
                tasks[done.run] = bar.add_task(done.run, total=done.rounds, accuracy="")
            bar.update(tasks[done.run], completed=done.report.round)
            if done.report.accuracy is not None:
                bar.update(tasks[done.run], accuracy=f"accuracy {100 * done.report.accuracy:.1f} %")
            check()

        yield on_progress


def _report(directory: Path) -> Path | None:
    from phloem.report.page import write_report

    try:
        return write_report(directory)
    except MissingExtra as error:
        say(f"No report: {error}")
        return None
