"""Accuracy against bytes: phloem's codecs and its peers', trained for the same rounds, every byte real.

    python benchmarks/accuracy_bytes.py                                        digits, one seed: minutes
    python benchmarks/accuracy_bytes.py --data fashion_mnist.npz --seeds 1 2 3 --keep runs.jsonl
    python benchmarks/accuracy_bytes.py --from runs.jsonl --output docs/accuracy.md

All presets train the same clients on the same samples with the same seeds; only what is sent differs.
Accuracy is the mean of the last five evaluations on the test set. With `--keep` a run that is in the file
already is not made again, so that hours of runs may be made in pieces; after a change of code start anew.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from phloem.bench.training import DIGITS, IMAGES, PRESETS, Standing, Trained, cheapest_peer, standings, train
from phloem.config import parse_assignments
from phloem.units import human_bytes

BEGIN = "<!-- measured: benchmarks/accuracy_bytes.py writes from here"
END = "to here -->"


def runs(given: argparse.Namespace) -> Iterator[Trained]:
    """Yield what is in the file, then what is missing in it, adding that."""
    common = DIGITS if given.data == "digits" else {**IMAGES, "data.source": f"npz:{given.data}"}
    common = {**common, **parse_assignments(given.assignments)}
    kept = list(read(given.keep)) if given.keep and given.keep.exists() else []
    yield from kept
    done = {(run.preset, run.seed) for run in kept}
    wanted = [preset for preset in PRESETS if not given.only or preset.name in given.only]
    for seed in given.seeds:
        for preset in wanted:
            if (preset.name, seed) in done:
                continue
            run = train(preset, common, seed)
            print(f"  {preset.name}, seed {seed}: {100 * run.accuracy:.2f} %", file=sys.stderr, flush=True)
            if given.keep:
                with given.keep.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(run)) + "\n")
            yield run


def read(path: Path) -> Iterator[Trained]:
    """Return the runs in a file of JSON lines."""
    for line in path.read_text(encoding="utf-8").splitlines():
        yield Trained(**json.loads(line))


def table(rows: list[Standing]) -> Iterator[str]:
    """Return the lines of a Markdown table; ratios and points are against the first row."""
    dense = rows[0]
    yield "| preset | codec up | seeds | accuracy | to dense | up | down | fewer up | fewer both |"
    yield "|---|---|--:|--:|--:|--:|--:|--:|--:|"
    for row in rows:
        code = row.preset.up.replace("|", "\\|")
        ahead = row.ahead(dense)
        points = "" if ahead is None else f"{100 * ahead:+.2f} pt"
        yield (
            f"| {row.preset.name} | `{code}` | {len(row.runs)} | {100 * row.accuracy:.2f} % | {points} "
            f"| {human_bytes(row.up)} | {human_bytes(row.down)} "
            f"| {dense.up / row.up:.1f}x | {dense.both / row.both:.1f}x |"
        )


def verdicts(rows: Iterable[Standing]) -> Iterator[str]:
    """Say of each of phloem's own presets what the cheapest peer takes that is no less accurate."""
    found = list(rows)
    for own in found[1:]:
        if not own.preset.own:
            continue
        for both, ways in ((False, "up"), (True, "both ways")):
            peer = cheapest_peer(found, own, both=both)
            mine = own.both if both else own.up
            if peer is None:
                yield f"- *{own.preset.name}*, {ways}: no peer preset is as accurate."
            else:
                theirs = peer.both if both else peer.up
                yield (
                    f"- *{own.preset.name}*, {ways}: the cheapest peer that is no less accurate is "
                    f"{peer.preset.name}, with {theirs / mine:.2f} times its bytes."
                )


def write(path: Path, lines: list[str]) -> None:
    """Put the lines between the page's two marks; the words around them are somebody's own."""
    before, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    text = "\n".join([before + BEGIN + " -->", "", *lines, "", "<!-- " + END + after])
    path.write_text(text, encoding="utf-8")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="digits", help="`digits` or an npz file of images")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--only", nargs="+", choices=[preset.name for preset in PRESETS])
    parser.add_argument("--set", dest="assignments", nargs="+", default=[], help="further settings")
    parser.add_argument("--keep", type=Path, help="a file that runs are added to")
    parser.add_argument("--from", dest="source", type=Path, help="only read such a file")
    parser.add_argument("--output", type=Path, help="a page whose marked part is written anew")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()

    logging.getLogger("flwr").setLevel(logging.WARNING)
    found = standings(read(given.source) if given.source else runs(given))
    if not found:
        raise SystemExit("There should be a run. Found none. Leave out `--from`.")
    if given.json:
        print(json.dumps([asdict(run) for row in found for run in row.runs.values()], indent=2))
        return
    lines = [*table(found), "", *verdicts(found)]
    if given.output:
        write(given.output, lines)
    else:
        print("\n".join(lines))


if __name__ == "__main__":
    main()
