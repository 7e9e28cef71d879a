"""Hostile frames by the hundred thousand: what the tests do with a few codecs, at length and for all.

    python -m tests.compression.sweep --frames 1000000

The same numbers give the same frames. What is found is printed as a line of Python that repeats it.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from phloem.compression.codec import Codec, codec
from phloem.compression.update import Schema, TensorSpec, is_finite
from phloem.errors import CorruptUpdate
from tests.compression import mutations
from tests.compression.mutations import Specimen

GOLDEN = Path(__file__).parent / "golden"
HANG_CPU_S = 1.0
"""No frame of these sizes may keep a processor this long: they take a millisecond."""

STUCK_S = 600.0
"""Nor may a batch ever take this long: then the process is stuck, and ends with a traceback."""

BATCH = 1000


@dataclass(frozen=True)
class Case:
    """A receiver and an honest frame for it."""

    codec: Codec
    schema: Schema
    specimen: Specimen

    @property
    def name(self) -> str:
        """The codec's text."""
        return str(self.codec)


@dataclass
class Tally:
    """How many frames were refused or decoded, and the processor time of the slowest."""

    refused: int = 0
    decoded: int = 0
    slowest_s: float = 0.0

    @property
    def frames(self) -> int:
        """All of them."""
        return self.refused + self.decoded


def golden_cases() -> list[Case]:
    """One case a golden file."""
    cases = []
    for folder in sorted(path for path in GOLDEN.iterdir() if path.is_dir()):
        about = json.loads((folder / "about.json").read_text("utf-8"))
        schema = Schema(tuple(TensorSpec(name, tuple(shape)) for name, shape in about["tensors"].items()))
        cases.append(Case(codec(about["codec"]), schema, Specimen.of((folder / "frame.bin").read_bytes())))
    return cases


def others(case: Case, cases: Iterable[Case]) -> list[Specimen]:
    """The other codecs' frames for the same tensors."""
    return [one.specimen for one in cases if one is not case and one.schema == case.schema]


def sweep(case: Case, frames: Iterable[bytes]) -> Tally:
    """Decode them all: `CorruptUpdate` or a finite update of the schema, and soon.

    Raises:
        AssertionError: something else happened; the text repeats it.
    """
    tally = Tally()
    rest = iter(frames)
    assert survives(case, case.specimen.blob)  # and whatever is compiled at first use is compiled
    try:
        while batch := list(islice(rest, BATCH)):
            faulthandler.dump_traceback_later(STUCK_S, exit=True)
            for blob in batch:
                start = time.thread_time()
                alive = survives(case, blob)
                taken = time.thread_time() - start
                tally.slowest_s = max(tally.slowest_s, taken)
                tally.decoded += alive
                tally.refused += not alive
                assert taken < HANG_CPU_S, f"{taken:.1f} s for {repeat(case, blob)}"
    finally:
        faulthandler.cancel_dump_traceback_later()
    return tally


def survives(case: Case, blob: bytes) -> bool:
    """Whether the bytes decode; if they do, to something that can be used."""
    try:
        decoded = case.codec.decode(blob, case.schema)
    except CorruptUpdate:
        return False
    except Exception as error:
        raise AssertionError(f"{type(error).__name__}: {error}, from {repeat(case, blob)}") from error
    assert Schema.of(decoded) == case.schema, repeat(case, blob)
    assert is_finite(decoded), repeat(case, blob)
    return True


def repeat(case: Case, blob: bytes) -> str:
    """A line that decodes these bytes again."""
    shapes = {tensor.name: tensor.shape for tensor in case.schema.tensors}
    zeros = f"{{n: np.zeros(s, 'f4') for n, s in {shapes}.items()}}"
    return f"codec({case.name!r}).decode(bytes.fromhex({blob.hex()!r}), Schema.of({zeros}))"


def endless(case: Case, cases: Iterable[Case], seed: int, count: int) -> Iterator[bytes]:
    """The systematic variants, then random ones, `count` together."""
    systematic = mutations.all_of(case.specimen, others(case, cases))
    return islice(chain(systematic, mutations.random(case.specimen, seed, count)), count)


def main(arguments: list[str]) -> int:
    """Share the frames among the golden files; tell what was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.compression.sweep", description=__doc__)
    parser.add_argument("--frames", type=int, default=1_000_000, help="how many in all")
    parser.add_argument("--seed", type=int, default=0, help="of the random ones")
    options = parser.parse_args(arguments)
    warnings.simplefilter("error")
    cases = golden_cases()
    total, findings = Tally(), 0
    for place, case in enumerate(cases):
        start = time.perf_counter()
        try:
            tally = sweep(case, endless(case, cases, options.seed, -(-options.frames // len(cases))))
        except AssertionError as finding:
            findings += 1
            print(f"FOUND in {case.name}: {finding}", flush=True)
            continue
        total.refused += tally.refused
        total.decoded += tally.decoded
        total.slowest_s = max(total.slowest_s, tally.slowest_s)
        print(
            f"{place + 1:3}/{len(cases)} {tally.frames:8} frames, {tally.refused:8} refused, slowest "
            f"{1000 * tally.slowest_s:6.1f} ms, {time.perf_counter() - start:6.1f} s  {case.name}",
            flush=True,
        )
    slowest = f"slowest {1000 * total.slowest_s:.1f} ms"
    print(f"{total.frames} frames, {total.refused} refused, {slowest}, {findings} found")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
