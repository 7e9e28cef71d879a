"""The command line. Exit codes: 0 ok, 2 bad input, 3 failed run, 4 budget missed, 130 interrupted."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

import phloem
from phloem import doctor as doctor_
from phloem.cli import bench, codec, export, link, resume, scenario
from phloem.cli.console import FAILED_RUN, OK, JsonFlag, exit_codes, out
from phloem.cli.run import run_and_show, show
from phloem.summary import summarise

if TYPE_CHECKING:
    from phloem.config import Experiment

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=True)


def main() -> None:
    """Run the command line, with no telemetry: phloem talks to nobody unless asked."""
    os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
    sys.path.append(os.getcwd())  # where the caller's own "module:function" lies
    app()


@app.callback(invoke_without_command=True)
def version(
    show: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
) -> None:
    """Federated edge simulation with compressed model exchange."""
    if show:
        out.print(phloem.__version__)
        raise typer.Exit(OK)


@app.command()
def simulate(
    config: Annotated[
        Path | None, typer.Argument(help="An experiment in TOML; defaults if left out.")
    ] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="Override a setting: --set run.rounds=5 (repeatable).")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="The same as --set run.seed=N.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="The run's folder.")] = None,
    no_reference: Annotated[bool, typer.Option("--no-reference", help="Leave out the dense run.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Run federated clients in this process: real bytes both ways, every one counted."""
    with exit_codes():
        experiment = _experiment(config, assignments or [], seed, no_reference)
        from phloem.simulation.run import new_directory, simulate  # after the settings: torch takes seconds

        directory = output or new_directory(experiment)
        command = _command(config, assignments or [], seed, no_reference)
        run_and_show(
            lambda on_progress: simulate(experiment, directory, on_progress=on_progress, command=command),
            directory,
            as_json,
        )


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    as_json: JsonFlag = False,
) -> None:
    """Write report.html for a run: one page that needs no network."""
    with exit_codes():
        summary = summarise(run)
        from phloem.report.page import write_report

        page = write_report(run)
        show(summary, page, as_json)


def doctor(as_json: JsonFlag = False) -> None:
    """Say what is installed and what will not work."""
    with exit_codes():
        findings = doctor_.examine()
        if as_json:
            print(json.dumps(doctor_.as_json(findings), indent=2))
        else:
            out.print(_findings_table(findings))
        raise typer.Exit(OK if doctor_.healthy(findings) else FAILED_RUN)


# In the order in which a newcomer meets them, which is that of the help.
app.command()(resume.resume)
app.command()(export.export)
app.command()(scenario.scenario)
app.command()(link.serve)
app.command()(link.join)
app.command()(doctor)
app.add_typer(codec.app, name="codec")
app.add_typer(bench.app, name="bench")


def _experiment(
    config: Path | None, assignments: list[str], seed: int | None, no_reference: bool
) -> Experiment:
    from phloem.config import experiment_of

    experiment = experiment_of(config, assignments, seed)
    return experiment.with_values({"run.reference": False}) if no_reference else experiment


def _command(config: Path | None, assignments: list[str], seed: int | None, no_reference: bool) -> str:
    """Return what makes this run again; where it is put and how it is shown are not part of that."""
    parts = ["phloem", "simulate", *([str(config)] if config is not None else [])]
    for assignment in assignments:
        parts += ["--set", assignment]
    if seed is not None:
        parts += ["--seed", str(seed)]
    return shlex.join([*parts, "--no-reference"] if no_reference else parts)


def _findings_table(findings: list[doctor_.Finding]) -> Table:
    table = Table("", "found", "without it", title="phloem doctor", title_justify="left")
    for finding in findings:
        mark = "[green]ok[/]" if finding.ok else ("[red]missing[/]" if finding.needed else "[yellow]-[/]")
        consequence = "" if finding.ok else escape(finding.consequence)
        table.add_row(f"{mark} {escape(finding.name)}", escape(finding.found), consequence)
    return table
