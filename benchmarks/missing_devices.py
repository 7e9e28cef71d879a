"""Devices that are away in a round: what it costs, in a simulation, and what over-selection gives back.

    python benchmarks/missing_devices.py                              digits, 20 clients, 40 rounds, one seed
    python benchmarks/missing_devices.py --seeds 1 2 3 --keep runs.jsonl

Every row is compared with the same run and seed where everybody is there: points of test accuracy, as the
mean over a run's last five evaluations; mean over the seeds and, in brackets, the worst seed. Rounds without
a quorum are counted as the ledger has them: rounds that have refusals and nothing applied. With `--keep` a
run that is in the file already is not made again.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

from phloem.config import Experiment
from phloem.ledger import Ledger
from phloem.simulation.run import simulate
from phloem.summary import LEDGER_NAME, summarise

COMMON: dict[str, object] = {
    "data.clients": 20,
    "server.clients_per_round": 10,
    "server.quorum": 0.5,
    "server.checkpoint_every": 0,
    "run.rounds": 40,
    "run.reference": False,
    "run.baselines": "none",
}
EVERYBODY = "everybody there"
RUNS: dict[str, dict[str, object]] = {
    EVERYBODY: {},
    "30 % missing": {"network.missing": 0.3},
    "30 % missing, no quorum": {"network.missing": 0.3, "server.quorum": 0.0},
    "30 % missing, 1.5 times as many asked": {"network.missing": 0.3, "server.over_selection": 1.5},
    "60 % missing": {"network.missing": 0.6},
    "60 % missing, 2 times as many asked": {"network.missing": 0.6, "server.over_selection": 2.0},
    "1.3 times as many asked": {"server.over_selection": 1.3},
}


@dataclass(frozen=True)
class Made:
    """A run and what came of it."""

    run: str
    seed: int
    accuracy: float
    rounds: int
    abandoned: int
    applied: int
    late: int
    silent: int
    up_bytes: int


def make(run: str, seed: int) -> Made:
    """Make one run."""
    experiment = Experiment().with_values({**COMMON, **RUNS[run], "run.seed": seed})
    with tempfile.TemporaryDirectory() as scratch:
        folder = simulate(experiment, Path(scratch) / "run")
        found = summarise(folder)
        with Ledger.open(folder / LEDGER_NAME) as ledger:
            codes = dict(ledger.query("SELECT code, count(*) FROM rejection GROUP BY code"))
            [(applied, abandoned)] = ledger.query(
                "SELECT sum(accepted), sum(accepted = 0 AND rejected > 0) FROM round WHERE round > 0"
            )
    assert found.accuracy_mean5 is not None
    return Made(
        run,
        seed,
        found.accuracy_mean5,
        found.rounds,
        abandoned,
        applied,
        codes.get("late", 0),
        codes.get("silent", 0),
        found.uplink.payload_bytes,
    )


def rows(runs: Sequence[Made]) -> Iterator[str]:
    """Yield a Markdown table."""
    whole = {run.seed: run for run in runs if run.run == EVERYBODY}
    yield "| | accuracy, points | rounds abandoned | updates applied | late | missing | bytes up |"
    yield "|---|---|---|---|---|---|---|"
    for name in RUNS:
        mine = [run for run in runs if run.run == name]
        if not mine:
            continue
        lost = [100 * (run.accuracy - whole[run.seed].accuracy) for run in mine]
        share = sum(run.up_bytes for run in mine) / sum(whole[run.seed].up_bytes for run in mine)
        first = f"{100 * fmean(run.accuracy for run in mine):.1f} %"
        yield (
            f"| {name} | {first if name == EVERYBODY else f'{fmean(lost):+.1f} ({min(lost):+.1f})'} "
            f"| {fmean(run.abandoned for run in mine):.1f} of {mine[0].rounds} "
            f"| {fmean(run.applied for run in mine):.0f} | {fmean(run.late for run in mine):.0f} "
            f"| {fmean(run.silent for run in mine):.0f} "
            f"| {100 * share:.0f} % |"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the runs that are not there yet and print the table."""
    logging.getLogger("flwr").setLevel(logging.WARNING)
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--keep", type=Path, help="a file of runs, to add to")
    given = parser.parse_args(arguments)
    kept = given.keep.read_text("utf-8").splitlines() if given.keep and given.keep.exists() else []
    runs = [Made(**json.loads(line)) for line in kept]
    done = {(run.run, run.seed) for run in runs}
    for seed in given.seeds:
        for name in RUNS:
            if (name, seed) in done:
                continue
            runs.append(make(name, seed))
            print(runs[-1], file=sys.stderr, flush=True)
            if given.keep:
                with given.keep.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(runs[-1])) + "\n")
    print("\n".join(rows(runs)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
