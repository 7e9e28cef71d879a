"""Learned rate allocation against every fixed level: what equal accuracy costs, with every byte real.

    python benchmarks/allocation.py                                   two presets on digits, one seed: minutes
    python benchmarks/allocation.py --seeds 1 2 3 4 5 --keep runs.jsonl
    python benchmarks/allocation.py --from runs.jsonl

Fixed levels and bandits train the same clients on the same samples with the same seeds. The fixed levels make
a curve of accuracy against bytes; between two of them it is a straight line over the logarithm of bytes. A
bandit is compared with that curve at its own accuracy: how many bytes a fixed level, also one between those
that were run, would take for as much. With `--keep` a run that is in the file already is not made again.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

from phloem.config import Experiment
from phloem.ledger import Ledger
from phloem.simulation.run import simulate
from phloem.stream_rows import Stream
from phloem.summary import LEDGER_NAME, summarise

LEVELS = (0.03, 0.06, 0.12, 0.25)
BANDITS = ((0, 0.3), (0, 0.6), (0, 1.0), (1, 0.3))
"""From which level on a bandit chooses, and the price of bytes to it."""

PRESETS: dict[str, dict[str, object]] = {
    "digits, Dirichlet 0.3": {},
    "digits, two classes a client": {"data.partition": "pathological:2"},
}
COMMON: dict[str, object] = {
    "run.reference": False,
    "run.baselines": "none",
    "run.rounds": 40,
    "server.checkpoint_every": 0,
}


@dataclass(frozen=True)
class Made:
    """A run: which preset, by which rule, with which seed, and what came of it."""

    preset: str
    rule: str
    seed: int
    up_bytes: int
    prequential: float
    final: float


def rules() -> dict[str, dict[str, object]]:
    """Return the settings of each rule: a fixed level, or a bandit that chooses from the coarsest one on."""
    fixed: dict[str, dict[str, object]] = {
        f"fixed {level:g}": {"uplink.codec": text(level)} for level in LEVELS
    }
    return {
        **fixed,
        **{
            f"bandit from {LEVELS[first]:g}, price {price:g}": bandit(first, price)
            for first, price in BANDITS
        },
    }


def bandit(first: int, price: float) -> dict[str, object]:
    """Return the settings of a bandit that chooses from all levels but the first ones."""
    levels = "; ".join(text(level) for level in LEVELS[first:])
    return {"uplink.allocate": "bandit", "uplink.levels": levels, "uplink.price": price}


def text(bpp: float) -> str:
    """Return the codec of a level."""
    return f"ef | rdo:bpp={bpp:g}"


def make(preset: str, rule: str, seed: int) -> Made:
    """Train once; the final accuracy is the mean of the last ten evaluations."""
    values = {**COMMON, **PRESETS[preset], **rules()[rule], "run.seed": seed}
    with tempfile.TemporaryDirectory() as folder:
        run = simulate(Experiment().with_values(values), Path(folder) / "run")
        with Ledger.open(run / LEDGER_NAME) as ledger:
            streams = ledger.read(Stream)
            last = ledger.query(
                "SELECT avg(accuracy) FROM (SELECT accuracy FROM evaluation WHERE split = 'test'"
                " ORDER BY round DESC LIMIT 10)"
            )
        up = summarise(run).uplink.payload_bytes
    hits = sum(row.correct for row in streams) / sum(row.samples for row in streams)
    return Made(preset, rule, seed, up, hits, last[0][0])


def runs(given: argparse.Namespace) -> Iterator[Made]:
    """Yield what is in the file, then what is missing in it, adding that."""
    kept = list(read(given.keep)) if given.keep and given.keep.exists() else []
    yield from kept
    done = {(run.preset, run.rule, run.seed) for run in kept}
    for seed in given.seeds:
        for preset in given.presets:
            for rule in rules():
                if (preset, rule, seed) not in done:
                    run = make(preset, rule, seed)
                    print(f"  {preset}: {rule}, seed {seed}: {run.up_bytes} B", file=sys.stderr, flush=True)
                    if given.keep:
                        with given.keep.open("a", encoding="utf-8") as file:
                            file.write(json.dumps(asdict(run)) + "\n")
                    yield run


def read(path: Path) -> Iterator[Made]:
    """Return the runs in a file of JSON lines."""
    for line in path.read_text(encoding="utf-8").splitlines():
        yield Made(**json.loads(line))


def needed(target: float, curve: Sequence[tuple[float, float]]) -> float | None:
    """Return the bytes at which a curve of (bytes, accuracy) reaches `target`; None outside of it."""
    points = sorted(curve)
    for (low, before), (high, after) in pairwise(points):
        if before <= target <= after and after > before:
            share = (target - before) / (after - before)
            return math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
    return None


def table(found: Sequence[Made]) -> Iterator[str]:
    """Return the lines of a Markdown table a preset; means over seeds."""
    groups: dict[str, dict[str, list[Made]]] = defaultdict(lambda: defaultdict(list))
    for run in found:
        groups[run.preset][run.rule].append(run)
    for preset, by_rule in groups.items():
        seeds = min(len(made) for made in by_rule.values())
        means = {
            rule: tuple(
                sum(getattr(run, field) for run in made) / len(made)
                for field in ("up_bytes", "prequential", "final")
            )
            for rule, made in by_rule.items()
        }
        fixed = [mean for rule, mean in means.items() if rule.startswith("fixed")]
        yield f"**{preset}**, seeds: {seeds}\n"
        yield "| rule | up, kB | prequential | fewer bytes | final | fewer bytes |"
        yield "|---|--:|--:|--:|--:|--:|"
        for rule, (size, prequential, final) in means.items():
            cells = []
            for value, place in ((prequential, 1), (final, 2)):
                other = needed(value, [(mean[0], mean[place]) for mean in fixed])
                fewer = (
                    ""
                    if rule.startswith("fixed")
                    else "outside"
                    if other is None
                    else f"{100 * (1 - size / other):+.0f} %"
                )
                cells += [f"{100 * value:.1f} %", fewer]
            yield f"| {rule} | {size / 1000:.1f} | {' | '.join(cells)} |"
        yield ""


def main() -> None:
    """Run what is missing and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--presets", nargs="+", default=list(PRESETS), choices=list(PRESETS))
    parser.add_argument("--keep", type=Path, help="a file of runs to add to")
    parser.add_argument(
        "--from", dest="source", type=Path, help="print the tables of such a file, run nothing"
    )
    given = parser.parse_args()
    found = list(read(given.source)) if given.source else list(runs(given))
    print("\n".join(table(found)))


if __name__ == "__main__":
    main()
