"""`phloem scenario`: what will reach the clients, before anything is trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from phloem.cli.console import JsonFlag, exit_codes, out

if TYPE_CHECKING:
    from phloem.federation import Federation


def scenario(
    config: Annotated[
        Path | None, typer.Argument(help="An experiment in TOML; defaults if left out.")
    ] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="Override a setting: --set data.clients=5 (repeatable).")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="The same as --set run.seed=N.")] = None,
    bins: Annotated[int, typer.Option(min=1, max=500, help="Into how many parts time is cut.")] = 48,
    clients: Annotated[int, typer.Option(min=1, help="How many clients to draw.")] = 12,
    as_json: JsonFlag = False,
) -> None:
    """Show what reaches the clients: samples, classes over time, drift, concepts, bad rows."""
    with exit_codes():
        from phloem.config import Experiment, load, parse_assignments
        from phloem.simulation.data.picture import as_text, mix_over_time
        from phloem.sources import open_federation

        values = parse_assignments(assignments or [])
        if seed is not None:
            values["run.seed"] = seed
        experiment = (load(config) if config is not None else Experiment()).with_values(values)
        federation = open_federation(experiment.data, experiment.run.seed)
        mix = mix_over_time(federation, bins)
        if as_json:
            found = facts(federation)
            found["mix"] = {"counts": mix.counts.tolist(), "concepts": mix.concepts.tolist()}
            print(json.dumps(found, indent=2))
            return
        out.print(_facts_table(federation))
        out.print(as_text(mix, clients), markup=False, highlight=False, soft_wrap=True)


def facts(federation: Federation) -> dict[str, Any]:
    """Return what there is to know of a federation, without its samples."""
    return {
        "scenario": federation.scenario,
        "clients": len(federation.shares),
        "samples": [len(share) for share in federation.shares],
        "input_shape": list(federation.input_shape),
        "classes": federation.classes,
        "test": len(federation.test),
        "validation": len(federation.validation),
        "proxy": len(federation.proxy),
        "concepts": federation.concept_count,
        "label_delay": federation.label_delay,
        "dropped": [len(rows) for rows in federation.dropped],
        "dropped_held_back": federation.dropped_held_back,
        "drifts": [
            {"client": d.client, "position": d.position, "end": d.end, "kind": d.kind, "cause": d.cause}
            for d in federation.drifts
        ],
    }


def _facts_table(federation: Federation) -> Table:
    sizes = [len(share) for share in federation.shares]
    held = f"{len(federation.test)}, {len(federation.validation)}, {len(federation.proxy)}"
    rows = {
        "scenario": federation.scenario or "none",
        "clients": f"{len(sizes)}, of {min(sizes)} to {max(sizes)} samples",
        "inputs": f"{' x '.join(map(str, federation.input_shape))}, {federation.classes} classes",
        "test, validation, proxy": held,
        "concepts": str(federation.concept_count),
        "changes": ", ".join(_changes(federation)) or "none",
        "label delay": f"{federation.label_delay} samples",
        "bad rows left out": str(sum(map(len, federation.dropped)) + federation.dropped_held_back),
    }
    table = Table(title="phloem scenario", title_justify="left", show_header=False)
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _changes(federation: Federation) -> list[str]:
    kinds = [f"{drift.kind} by {drift.cause}" for drift in federation.drifts]
    return [f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds)]
