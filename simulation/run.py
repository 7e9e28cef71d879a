"""A simulated run: the very ServerApp and ClientApp, carried in process, with a dense run beside it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from phloem.client.app import app as client_app
from phloem.config import Experiment, load
from phloem.errors import ConfigError
from phloem.ledger import Ledger
from phloem.server.app import Reach, go_on, prepare, serve
from phloem.server.strategy import RoundReport
from phloem.simulation.baselines import add_baselines
from phloem.simulation.grid import LocalGrid, Tap
from phloem.simulation.network import network_of
from phloem.stream_rows import Baseline
from phloem.summary import LEDGER_NAME, REFERENCE_NAME


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
    reach: Reach = go_on,
    command: str = "",
) -> Path:
    """Run an experiment in this process and return its folder.

    Beside `run.sqlite`, `model.safetensors` and `experiment.toml`, the folder holds the same of the dense
    run with the same seed in `reference/`, unless `run.reference` is off. `tap` sees the run's messages,
    `reach` is called wherever a crash leaves something of its own kind behind, and `command` is what a user
    would enter to make the run again, for the ledger.

    Raises:
        ConfigError: a setting that cannot work, before any training.
        RunError: the run could not go on.
    """
    directory = directory or new_directory(experiment)
    _check_new(directory)
    prepare(experiment)
    facts = {"command": command} if command else {}
    _run(experiment, directory, facts, on_progress, tap, reach, going_on=False)
    return directory


def resume(
    directory: Path,
    *,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    tap: Tap | None = None,
    reach: Reach = go_on,
) -> Path:
    """Go on with a run that was broken off, from its last whole checkpoint.

    What is left of it is done: the run itself, what it is compared with, the dense run beside it. Model and
    ledger come to the same hashes as if nothing had happened.

    Raises:
        ConfigError: there is no run, none that was simulated, or nothing is left of it to do.
        RunError: no checkpoint is whole, or the run could not go on.
    """
    experiment = _experiment_in(directory)
    with Ledger.open(directory / LEDGER_NAME) as ledger:
        carrier = ledger.facts().get("carrier", "")
    if carrier != LocalGrid.__name__:
        raise ConfigError(
            f"`phloem resume` goes on with simulated runs. Found one that was carried by {carrier}. Start it "
            f"there again, with run.resume=true and run.directory={str(directory)!r}; `phloem serve` with "
            f"--resume and -o {str(directory)!r}."
        )
    parts = [directory, *([directory / REFERENCE_NAME] if experiment.run.reference else [])]
    if all(_is_finished(part) for part in parts):
        raise ConfigError(
            "A run that goes on should have been broken off. Found one that is finished in "
            f"{str(directory)!r}. See it with `phloem report`."
        )
    _run(experiment, directory, {}, on_progress, tap, reach, going_on=True)
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


def _experiment_in(directory: Path) -> Experiment:
    path = directory / "experiment.toml"
    if not path.exists():
        raise ConfigError(
            f"A run's folder should hold an experiment.toml. Found none in {str(directory)!r}: nothing was "
            "run there, or it had not begun. Name another folder, or simulate anew."
        )
    return load(path)


def _is_finished(directory: Path) -> bool:
    path = directory / LEDGER_NAME
    if not path.exists():
        return False
    with Ledger.open(path) as ledger:
        return ledger.facts().get("state") == "finished"


def _run(
    experiment: Experiment,
    directory: Path,
    facts: Mapping[str, str],
    on_progress: Callable[[Progress], None],
    tap: Tap | None,
    reach: Reach,
    *,
    going_on: bool,
) -> None:
    """Do what is not done of a run, of its comparisons and of its reference."""
    # Flower's twenty lines a round are not a simulation's output.
    logging.getLogger("flwr").setLevel(logging.WARNING)
    beside = directory / REFERENCE_NAME
    jobs = [(experiment, directory, "run", tap, reach)]
    if experiment.run.reference:
        jobs.append((experiment.dense_reference(), beside, REFERENCE_NAME, None, go_on))
    for settings, folder, name, own_tap, own_reach in jobs:
        if not (going_on and _is_finished(folder)):
            _one(settings, folder, name, facts, on_progress, own_tap, own_reach, going_on=going_on)
        if folder == directory:
            with Ledger.open(folder / LEDGER_NAME) as ledger:
                compared = bool(ledger.read(Baseline))
            if not compared:
                add_baselines(settings, folder)


def _one(
    experiment: Experiment,
    directory: Path,
    name: str,
    facts: Mapping[str, str],
    on_progress: Callable[[Progress], None],
    tap: Tap | None,
    reach: Reach,
    *,
    going_on: bool,
) -> None:
    clients = len(prepare(experiment).federation.shares)
    grid = LocalGrid(client_app, clients, experiment.to_flat(), tap, network_of(experiment))
    serve(
        grid,
        experiment,
        directory,
        facts=facts,
        on_round=lambda report: on_progress(Progress(name, experiment.run.rounds, report)),
        resume=going_on,
        reach=reach,
    )
