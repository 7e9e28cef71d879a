"""`phloem export`: a run's model made small, checked, and put where a device can take it."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Annotated

import typer

from phloem.cli.console import JsonFlag, exit_codes, out, say
from phloem.errors import ConfigError, MissingExtra

BUDGET_MISSED = 4
EXTRAS = {
    "shrink": ("torch_pruning", "onnx", "onnxscript", "onnxruntime"),
    "tune": ("optuna",),
}


def export(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="A new folder for what is exported.")],
    student: Annotated[
        float, typer.Option(help="Teach a small network of this share of the weights: 0.1.")
    ] = 0.0,
    channels: Annotated[float, typer.Option(help="Remove this share of each layer's channels: 0.3.")] = 0.0,
    ranking: Annotated[str, typer.Option(help="Which: l2, taylor, bn, information, random.")] = "l2",
    rank: Annotated[float, typer.Option(help="Factorise layers down to this share of their weights.")] = 0.0,
    shared: Annotated[int, typer.Option(help="Share this many values among a layer's weights: 16.")] = 0,
    search: Annotated[
        int, typer.Option(help="Search bits and channels of each layer in so many trials.")
    ] = 0,
    int8: Annotated[
        bool, typer.Option("--int8/--float", help="With int8 beside float, or float alone.")
    ] = True,
    qat: Annotated[
        bool, typer.Option("--qat", help="Teach it to compute in 8 bits, if that is no worse (QAT).")
    ] = False,
    max_loss: Annotated[
        float, typer.Option(help="Points of validation accuracy that may be lost; exit code 4 beyond.")
    ] = 1.0,
    licence: Annotated[str, typer.Option("--license", help="The model's licence, for its card.")] = "",
    seed: Annotated[int, typer.Option(help="Of lessons and search.")] = 1,
    as_json: JsonFlag = False,
) -> None:
    """Write a run's model as ONNX, float and int8, with its card; smaller if you like."""
    with exit_codes():
        need("shrink")
        if search:
            need("tune")
        if search < 0:
            raise ConfigError(f"`--search` should be a number of trials. Found {search}. Use 30, say.")
        if qat and not int8:
            raise ConfigError("`--qat` teaches for 8 bits. Found --float beside it. Leave one of them out.")
        from phloem.server.shrink.package import PAGE, export  # after the check: it needs the extra
        from phloem.server.shrink.recipe import Wishes
        from phloem.server.shrink.run_folder import open_run

        wishes = Wishes(
            student=student,
            channels=channels,
            ranking=ranking,
            rank=rank,
            shared=shared,
            trials=search,
            rounding=qat,
            max_loss_points=max_loss,
            seed=seed,
        )
        package = export(open_run(run), wishes, output, int8=int8, licence=licence)
        if as_json:
            print(json.dumps(package.card, indent=2))
        else:
            page = (package.directory / PAGE).read_text(encoding="utf-8")
            out.print(page, markup=False, highlight=False, soft_wrap=True)
            out.print(f"folder {package.directory}", markup=False, highlight=False, soft_wrap=True)
        if not package.within_budget:
            lost = package.card["budget"]["lost_points"]
            say(
                f"The model should lose {max_loss:g} points of validation accuracy at most. Found "
                f"{lost:.2f}. Ask for less, or allow more with --max-loss. The files are there."
            )
            raise typer.Exit(BUDGET_MISSED)


def need(extra: str) -> None:
    """Check that an extra's packages are installed, before anything is opened.

    Raises:
        MissingExtra: one of them is not.
    """
    for package in EXTRAS[extra]:
        if importlib.util.find_spec(package) is None:
            raise MissingExtra(
                f"`phloem export` needs {package.replace('_', '-')} here. Found that it is not installed. "
                f'Install it with: pip install "phloem[{extra}]"'
            )
