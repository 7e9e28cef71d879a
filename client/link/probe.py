"""How fast the link is, both ways: fillers of growing size, until one takes long enough to be timed."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from phloem.link.stream import MOST_PROBE_BYTES
from phloem.proto import link_pb2

SIZES = (4096, 65_536, MOST_PROBE_BYTES)
LONG_ENOUGH_S = 0.5

Exchange = Callable[[link_pb2.Up], Awaitable[None]]
"""Sends a probe and returns when its answer is there."""


@dataclass(frozen=True)
class Throughput:
    """What was measured; bytes are those of the fillers, so a little more crossed the wire."""

    round_trip_seconds: float
    up_bytes_per_second: float
    down_bytes_per_second: float


async def throughput(exchange: Exchange, clock: Callable[[], float] = time.perf_counter) -> Throughput:
    """Measure with up to 2 x 331 kB; on a narrow link with less, as that takes half a second sooner."""

    async def timed(up_bytes: int, down_bytes: int) -> float:
        probe = link_pb2.Probe(filler=os.urandom(up_bytes), wanted=down_bytes)
        began = clock()
        await exchange(link_pb2.Up(probe=probe))
        return clock() - began

    async def rate(up: bool) -> float:
        found = 0.0
        for size in SIZES:
            seconds = await timed(size if up else 0, 0 if up else size)
            found = size / max(seconds - round_trip, 1e-6)
            if seconds > LONG_ENOUGH_S:
                break
        return found

    round_trip = min([await timed(0, 0) for _ in range(3)])
    return Throughput(round_trip, await rate(up=True), await rate(up=False))
