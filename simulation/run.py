"""A simulated run: the very ServerApp and ClientApp, carried in process, with a dense run beside it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from phloem.client.app import app as client_app
from phloem.config import Experiment
from phloem.errors import ConfigError
from phloem.server.app import prepare, serve
from phloem.server.strategy import RoundReport
from phloem.simulation.baselines import add_baselines
from phloem.simulation.grid import LocalGrid, Tap
from phloem.summary import REFERENCE_NAME


@dataclass(frozen=True)
class Progress:
    """A finished round of the run itself or of its reference."""

    run: str
    rounds: int
    report: RoundReport


def simulate(
    experiment: Experiment,
    directory: Path | None = None,
    *,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    tap: Tap | None = None,
    command: str = "",
) -> Path:
    """Run an experiment in this process and return its folder.

    Beside `run.sqlite`, `model.safetensors` and `experiment.toml`, the folder holds the same of the dense
    run with the same seed in `reference/`, unless `run.reference` is off. `tap` sees the run's messages;
    `command` is what a user would enter to make the run again, for the ledger.

    Raises:
        ConfigError: a setting that cannot work, before any training.
        RunError: the run could not go on.
    """
    directory = directory or new_directory(experiment)
    _check_new(directory)
    prepare(experiment)
    # Flower's twenty lines a round are not a simulation's output.
    logging.getLogger("flwr").setLevel(logging.WARNING)
    facts = {"command": command} if command else {}
    _one(experiment, directory, "run", facts, on_progress, tap)
    add_baselines(experiment, directory)
    if experiment.run.reference:
        dense = experiment.dense_reference()
        _one(dense, directory / REFERENCE_NAME, REFERENCE_NAME, facts, on_progress, None)
    return directory


def new_directory(experiment: Experiment) -> Path:
    """Return the folder the experiment names, or a new one below `runs/` named by the time."""
    if experiment.run.directory:
        return Path(experiment.run.directory)
    stem = Path("runs") / f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
    candidates = [stem, *(stem.with_name(f"{stem.name}-{i}") for i in range(1, 1000))]
    return next(path for path in candidates if not path.exists())


def _check_new(directory: Path) -> None:
    if not directory.exists():
        return
    if not directory.is_dir():
        raise ConfigError(
            f"The run's folder should be new or empty. Found a file {str(directory)!r}. Name another."
        )
    if any(directory.iterdir()):
        raise ConfigError(
            f"The run's folder should be new or empty. Found files in {str(directory)!r}. Name another."
        )


def _one(
    experiment: Experiment,
    directory: Path,
    name: str,
    facts: Mapping[str, str],
    on_progress: Callable[[Progress], None],
    tap: Tap | None,
) -> None:
    clients = len(prepare(experiment).federation.shares)
    grid = LocalGrid(client_app, clients, experiment.to_flat(), tap)
    serve(
        grid,
        experiment,
        directory,
        facts=facts,
        on_round=lambda report: on_progress(Progress(name, experiment.run.rounds, report)),
    )
