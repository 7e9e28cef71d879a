"""A claim: what an article says, what it should say, and an experiment that decides.

    python examples/articles/CLAIM.py [--data digits fashion_mnist] [--seeds 1 2 3]

Each writes `results/CLAIM.json`, from which `table.py` makes docs/articles.md.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from examples.articles.school import DATA, School, open_school

RESULTS = Path(__file__).resolve().parent / "results"
Row = Mapping[str, float | str]
Found = Mapping[str, Mapping[str, Mapping[str, float]]]
"""Means over seeds, by data and by what they are of."""


@dataclass(frozen=True)
class Claim:
    """`measure` returns rows, each with a `what` that names it and figures; means over seeds are by `what`.

    `verdict` turns the means, by data and `what`, into one sentence.
    """

    name: str
    says: str
    as_written: str
    corrected: str
    measure: Callable[[School], list[Row]]
    verdict: Callable[[Found], str]
    data: tuple[str, ...] = DATA
    note: str = ""
    """What else is to be said under its figures."""

    def run(self, school: School) -> None:
        """Measure one school, and put its rows into the results."""
        started = time.process_time()
        rows = [{"data": school.data, "seed": school.seed, **row} for row in self.measure(school)]
        kept = [row for row in self.rows() if (row["data"], row["seed"]) != (school.data, school.seed)]
        ordered = sorted(kept + rows, key=lambda row: (str(row["data"]), int(row["seed"])))
        RESULTS.mkdir(exist_ok=True)
        lines = ",\n".join(json.dumps(row) for row in ordered)
        self.path.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
        print(
            f"{self.name}, {school.data}, seed {school.seed}: {time.process_time() - started:.0f} s",
            flush=True,
        )
        for row in rows:
            print("   ", row, flush=True)

    @property
    def path(self) -> Path:
        """Where its rows are kept."""
        return RESULTS / f"{self.name}.json"

    def rows(self) -> list[dict[str, float | str]]:
        """Return what was measured so far."""
        found: list[dict[str, float | str]] = []
        if self.path.exists():
            found = json.loads(self.path.read_text(encoding="utf-8"))
        return found

    def means(self) -> dict[str, dict[str, dict[str, float]]]:
        """Return the mean over seeds of every figure, by data and by what it is of."""
        grouped: dict[str, dict[str, list[dict[str, float | str]]]] = {}
        for row in self.rows():
            grouped.setdefault(str(row["data"]), {}).setdefault(str(row["what"]), []).append(row)
        return {
            data: {what: _mean(rows) for what, rows in by_what.items()} for data, by_what in grouped.items()
        }


def _mean(rows: list[dict[str, float | str]]) -> dict[str, float]:
    keys = [key for key, value in rows[0].items() if key != "seed" and not isinstance(value, str)]
    return {key: mean(float(row[key]) for row in rows) for key in keys} | {"seeds": len(rows)}


def main(claim: Claim) -> None:
    """Run one claim from the command line."""
    parser = argparse.ArgumentParser(description=claim.says)
    parser.add_argument("--data", nargs="+", choices=claim.data, default=list(claim.data))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    arguments = parser.parse_args()
    for data in arguments.data:
        for seed in arguments.seeds:
            claim.run(open_school(data, seed))
    print(claim.verdict(claim.means()))
