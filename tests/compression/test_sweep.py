"""A hundred thousand hostile frames over the golden files of every codec, and the memory that they get.

The short form of `python -m tests.compression.sweep`: all single bytes, all ends, all lengths of payloads,
and samples of the rest.
"""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from phloem.compression.codec import codec
from phloem.compression.frame import pack_chain, unpack_chain
from phloem.compression.update import Schema
from phloem.errors import CorruptUpdate
from tests.compression import mutations
from tests.compression.cases import CODECS
from tests.compression.mutations import Specimen
from tests.compression.sweep import GOLDEN, Case, golden_cases, others, survives, sweep

FOLDERS = sorted(path.name for path in GOLDEN.iterdir() if path.is_dir())
FLOATS_A_CASE = 500
OTHERS_A_CASE = 1
SLACK_BYTES = 1 << 16


@cache
def cases() -> dict[str, Case]:
    """The golden files, read once."""
    return dict(zip(FOLDERS, golden_cases(), strict=True))


def frames(case: Case) -> Iterator[bytes]:
    """What one golden file becomes."""
    specimen = case.specimen
    yield from mutations.bytes_altered(specimen)
    yield from mutations.ends_cut(specimen)
    yield from mutations.payloads_resized(specimen)
    yield from mutations.lengths_edited(specimen)
    yield from mutations.payloads_swapped(specimen)
    for other in others(case, cases().values())[:OTHERS_A_CASE]:
        yield from mutations.spliced(specimen, other)
    planted = sum(map(len, specimen.frame.payloads)) * len(mutations.FLOATS)
    yield from islice(mutations.floats_planted(specimen), 0, None, 1 + planted // FLOATS_A_CASE)


@pytest.mark.parametrize("folder", FOLDERS)
def test_hostile_variants_of_golden_files(folder: str) -> None:
    """Every variant raises `CorruptUpdate` or decodes to a finite update, in far less than a second."""
    case = cases()[folder]
    tally = sweep(case, frames(case))
    assert tally.refused > len(case.specimen.blob)  # at least whatever is cut off


def test_a_hundred_thousand() -> None:
    """The sweep above is as large as it says."""
    assert sum(1 for case in cases().values() for _ in frames(case)) >= 100_000


def test_variants_differ_from_the_original() -> None:
    """A mutation that changes nothing would only look like a test; the same seed gives the same ones."""
    case = cases()[FOLDERS[0]]
    systematic = list(mutations.all_of(case.specimen, others(case, cases().values())[:1]))
    assert sum(blob == case.specimen.blob for blob in systematic) < len(systematic) / 100
    assert len(set(systematic)) > 0.9 * len(systematic)
    first, again = (list(mutations.random(case.specimen, 5, 50)) for _ in range(2))
    assert first == again


@pytest.mark.parametrize("text", ["dense", "linear:4 | zstd"])
def test_hostile_variants_with_running_statistics(text: str) -> None:
    """What travels beside the codec, exactly, is checked as what travels in it."""
    rng = np.random.default_rng(4)
    update = {"bn.weight": rng.random(7, np.float32), "bn.running_var": rng.random(7, np.float32)}
    case = Case(codec(text), Schema.of(update), Specimen.of(codec(text).encode(update)[0]))
    sweep(case, mutations.all_of(case.specimen))


def test_hostile_chains() -> None:
    """A chain with any byte changed, or cut anywhere, gives frames no longer than itself, or is refused."""
    blobs = [case.specimen.blob for case in cases().values()][:3]
    chain = pack_chain(blobs)
    for place, byte in enumerate(chain):
        for wrong in (
            chain[:place],
            *(chain[:place] + bytes([b]) + chain[place + 1 :] for b in {0, 0xFF, byte ^ 1}),
        ):
            try:
                found = unpack_chain(wrong, len(blobs))
            except CorruptUpdate:
                continue
            assert len(found) <= len(blobs)
            assert sum(map(len, found)) <= len(wrong)


@pytest.mark.parametrize("text", CODECS)
def test_memory_is_that_of_honest_frames(text: str) -> None:
    """What a broken frame makes the decoder allocate is at most half as much again as an honest one does."""
    rng = np.random.default_rng(3)
    update = {"w": rng.standard_normal((96, 128), np.float32), "b": rng.standard_normal(96, np.float32)}
    case = Case(codec(text), Schema.of(update), Specimen.of(codec(text).encode(update)[0]))
    assert survives(case, case.specimen.blob)
    honest = peak(case, case.specimen.blob)
    for blob in [
        *mutations.random(case.specimen, 1, 12),
        *islice(mutations.ends_cut(case.specimen), 0, None, 997),
    ]:
        assert peak(case, blob) <= 1.5 * honest + SLACK_BYTES


def peak(case: Case, blob: bytes) -> int:
    """The most bytes allocated at once while these are decoded."""
    tracemalloc.start()
    try:
        survives(case, blob)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="needs Linux's /proc and address-space limits"
)
def test_bombs_get_no_memory(root: Path) -> None:
    """With 16 MiB to spare a process refuses quarter-gigabyte bombs and the longest payloads of any codec."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.compression.starved"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
