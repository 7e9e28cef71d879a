"""Decodes bombs and broken frames in a process that may have hardly more memory than it has.

    python -m tests.compression.starved

A decoder that asks for more than an honest update needs ends in a MemoryError here, which is told.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import zstandard

from phloem.compression.update import Schema
from tests.compression import mutations
from tests.compression.mutations import Specimen
from tests.compression.sweep import Case, golden_cases, survives

BOMB_BYTES = 1 << 28
SPARE_BYTES = 16 << 20
RANDOM_FRAMES = 200
UPDATE = {
    "w": np.random.default_rng(0).standard_normal((128, 160), np.float32),
    "b": np.ones(160, np.float32),
}


def cases() -> list[Case]:
    """Every codec that has a golden file, for a larger model."""
    schema = Schema.of(UPDATE)
    codecs = {golden.name: golden.codec for golden in golden_cases()}
    return [Case(one, schema, Specimen.of(one.encode(UPDATE)[0])) for one in codecs.values()]


def squeezed_bombs() -> Iterator[bytes]:
    """A quarter of a gigabyte of zeros in a few kilobytes, behind the flag of a squeezed payload."""
    zeros = bytes(BOMB_BYTES)
    for window_bits in (10, 17, 27):
        for content_size in (False, True):
            parameters = zstandard.ZstdCompressionParameters.from_level(
                3, window_log=window_bits, write_content_size=content_size
            )
            yield b"\x01" + zstandard.ZstdCompressor(compression_params=parameters).compress(zeros)[4:]


def hostile(case: Case, bombs: list[bytes]) -> Iterator[bytes]:
    """Bombs, payloads as long as they may be, and a few hundred others."""
    limits = [case.codec.body.max_payload_bytes(tensor) for tensor in case.schema.tensors]
    for place, limit in enumerate(limits):
        for bomb in bombs:
            yield case.specimen.with_payload(place, bomb)
        for byte in (b"\x00", b"\x01", b"\x7f", b"\x80", b"\xff"):
            for size in (limit // 2, limit - 1, limit, limit + 1, 4 * limit):
                yield case.specimen.with_payload(place, byte * max(size, 0))
    yield from mutations.random(case.specimen, seed=1, count=RANDOM_FRAMES)
    yield from islice(mutations.bytes_altered(case.specimen), 300)


def address_space() -> int:
    """What this process has now."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    return pages * resource.getpagesize()


def main() -> int:
    """Warm up, shut the door, decode."""
    honest = cases()
    bombs = list(squeezed_bombs())
    for case in honest:
        assert survives(case, case.specimen.blob)
    dense = Schema.of(UPDATE).dense_bytes
    most = address_space() + 3 * dense // 2 + SPARE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    frames = sum(
        1 for case in honest for blob in hostile(case, bombs) if survives(case, blob) in {True, False}
    )
    print(f"{frames} frames within {most - address_space()} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
