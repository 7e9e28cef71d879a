"""The codec benchmark: real bytes, really decoded, everybody measured in turn in one run on one core."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

import numpy as np

from phloem.bench.bounds import Point, lines
from phloem.bench.contenders import Contender, Missing
from phloem.bench.duel import Duel, fight
from phloem.bench.vectors import Vector
from phloem.compression.update import Schema, is_finite, nmse
from phloem.errors import ConfigError, RunError

REPEATS = 5
SLOW_SECONDS = 1.0
"""Whoever needs more to encode is timed once."""

FINE = time.get_clock_info("process_time").resolution < 1e-6
CLOCK = time.process_time if FINE else time.perf_counter
"""Processor seconds: all threads count, and other processes do not."""


@dataclass(frozen=True, slots=True)
class Row:
    """One codec on one vector: bits per parameter of all bytes sent, error, float32 MB a processor second."""

    vector: str
    codec: str
    family: str
    bytes: int
    bpp: float
    nmse: float
    encode_mbps: float
    decode_mbps: float
    memcpy_mbps: float


@dataclass(frozen=True)
class Result:
    """A whole run; `memcpy_mbps` is what copying the same arrays reached, measured in between."""

    memcpy_mbps: float
    repeats: int
    rows: tuple[Row, ...]
    references: tuple[Point, ...] = field(default=())
    missing: tuple[Missing, ...] = field(default=())
    duels: tuple[Duel, ...] = field(default=())

    def as_dict(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return asdict(self)


def measure(
    vectors: Sequence[Vector],
    contenders: Sequence[Contender],
    missing: Sequence[Missing] = (),
    *,
    repeats: int = REPEATS,
    equal_bytes: bool = False,
    on_vector: Callable[[str], None] = lambda name: None,
) -> Result:
    """Run every contender on every vector, `repeats` times after one that is not timed.

    With `equal_bytes`, `rdo` is then asked for the bytes of each of them.
    """
    rows: list[Row] = []
    duels: list[Duel] = []
    points: list[Point] = []
    refused: list[Missing] = []
    with one_core():
        for vector in vectors:
            on_vector(vector.name)
            found, gone = _measure(vector, contenders, repeats)
            rows += found
            if equal_bytes:
                fought = (fight(vector, row.codec, row.bytes, row.nmse) for row in found)
                duels += [duel for duel in fought if duel is not None]
            refused += gone
            points += lines(vector)
    speed = median([row.memcpy_mbps for row in rows]) if rows else 0.0
    return Result(speed, repeats, tuple(rows), tuple(points), (*missing, *refused), tuple(duels))


@contextmanager
def one_core() -> Iterator[None]:
    """Stay on one core meanwhile, where the system lets a process choose."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _measure(
    vector: Vector, contenders: Sequence[Contender], repeats: int
) -> tuple[list[Row], list[Missing]]:
    schema, size = vector.schema, vector.schema.dense_bytes
    flat = np.concatenate([tensor.ravel() for tensor in vector.update.values()])
    spare = np.empty_like(flat)
    blobs: dict[Contender, bytes] = {}
    errors: dict[Contender, float] = {}
    refused: list[Missing] = []
    for one in contenders:  # not timed: code is compiled and memory is had
        try:
            blobs[one] = one.coder.encode(vector.update)
        except ConfigError as error:
            refused.append(Missing(one.family, one.name, f"{vector.name}: {error}"))
            continue
        decoded = one.coder.decode(blobs[one], schema)
        if Schema.of(decoded) != schema or not is_finite(decoded):
            raise RunError(f"{one.name} should give back finite {vector.name}. Found something else.")
        errors[one] = nmse(vector.update, decoded)
    copies: list[float] = []
    times: dict[Contender, list[tuple[float, float]]] = {one: [] for one in blobs}
    for _ in range(repeats):
        for one, taken in times.items():
            copies.append(_seconds(np.copyto, spare, flat))
            if taken and taken[0][0] > SLOW_SECONDS:
                continue
            encoding = _seconds(one.coder.encode, vector.update)
            taken.append((encoding, _seconds(one.coder.decode, blobs[one], schema)))
    memcpy = size / median(copies) / 1e6
    rows = [
        Row(
            vector=vector.name,
            codec=one.name,
            family=one.family,
            bytes=len(blobs[one]),
            bpp=8 * len(blobs[one]) / schema.parameters,
            nmse=errors[one],
            encode_mbps=size / median([encoding for encoding, _ in taken]) / 1e6,
            decode_mbps=size / median([decoding for _, decoding in taken]) / 1e6,
            memcpy_mbps=memcpy,
        )
        for one, taken in times.items()
    ]
    return rows, refused


def _seconds(work: Callable[..., object], *arguments: object) -> float:
    start = CLOCK()
    work(*arguments)
    return max(CLOCK() - start, 1e-9)
