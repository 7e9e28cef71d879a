"""What the link costs: device processes on loopback that answer bytes with bytes, TLS and all."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median

from flwr.app import Message, RecordDict

from phloem.errors import RunError
from phloem.link.pages import Address
from phloem.records import put_blob
from phloem.server.link.authority import open_authority
from phloem.server.link.enrol import Enrolment
from phloem.server.link.grid import LinkGrid
from phloem.server.link.registry import Registry
from phloem.server.link.service import LinkService
from phloem.settings.link import LinkConfig

HERE = "127.0.0.1"
PHLOEM = (sys.executable, "-c", "from phloem.cli.main import main; main()")
PATIENCE_S = 120.0
REST_S = 2.5
"""A device gives back what it can after a second without work."""


@dataclass(frozen=True)
class Plan:
    """What to measure."""

    app: str
    """The devices' ClientApp, `module:name`."""
    devices: int = 2
    rounds: int = 20
    payload_bytes: int = 1000
    idle_s: float = 0.0
    keepalive_s: float = 240.0


@dataclass(frozen=True)
class RoundCost:
    """What one round cost one node."""

    carrier: str
    app: str
    node: int
    round: int
    payload_bytes: int
    wire_up_bytes: int
    """At the socket since the round before; in the first round, since the first byte of the connection."""
    wire_down_bytes: int
    round_seconds: float
    rss_mb: float
    """What the node's processes held when the round was over; MB of 10^6 bytes."""


@dataclass(frozen=True)
class Cost:
    """What one node cost; bytes and seconds are over the rounds that `counted` says."""

    carrier: str
    app: str
    node: int
    counted: str
    payload_bytes: int
    wire_up_bytes: float
    """The mean of a round."""
    wire_down_bytes: float
    round_seconds: float
    """The median."""
    rss_mb: float
    """What the node's processes held after the rounds, when nothing had been asked for a while."""
    working_rss_mb: float
    """The median of what they held at the end of each round."""
    peak_rss_mb: float
    """The most that they held at any time."""
    idle_bytes_per_second: float | None = None
    """Both ways, while nothing was asked."""


@dataclass(frozen=True)
class Measured:
    """Every round of every node, and what that comes to."""

    rounds: list[RoundCost]
    nodes: list[Cost]


def summed(
    rounds: Sequence[RoundCost], rss_mb: float, peak_rss_mb: float, idle: float | None, counted: str
) -> Cost:
    """Return what the rounds of one node come to."""
    first = rounds[0]
    return Cost(
        carrier=first.carrier,
        app=first.app,
        node=first.node,
        counted=counted,
        payload_bytes=first.payload_bytes,
        wire_up_bytes=mean(each.wire_up_bytes for each in rounds),
        wire_down_bytes=mean(each.wire_down_bytes for each in rounds),
        round_seconds=median(each.round_seconds for each in rounds),
        rss_mb=rss_mb,
        working_rss_mb=median(each.rss_mb for each in rounds),
        peak_rss_mb=peak_rss_mb,
        idle_bytes_per_second=idle,
    )


def measure(plan: Plan) -> Measured:
    """Return what each device cost.

    Raises:
        RunError: a device did not come or did not answer.
    """
    with tempfile.TemporaryDirectory(prefix="phloem-link-") as scratch:
        folder = Path(scratch)
        authority = open_authority(folder)
        registry = Registry(folder / "registry.sqlite")
        service = LinkService(authority, registry, LinkConfig())
        try:
            grid = LinkGrid(service, {}, plan.devices, registry.run_id(folder))
            port = service.listen(Address(HERE, 0))
            enrolment = Enrolment(service)
            door = enrolment.listen(Address(HERE, 0), port)
            tokens = [enrolment.token(HERE, door, place) for place in range(plan.devices)]
            with _devices(plan, tokens, folder) as running:
                return _measure(plan, service, grid, running)
        finally:
            service.close(finished=True, reason="That is all.")
            registry.close()


def _measure(
    plan: Plan, service: LinkService, grid: LinkGrid, running: list[subprocess.Popen[bytes]]
) -> Measured:
    _wait(service, plan.devices)
    places = {place.node: place.place for place in service.registry.places()}
    wire = dict.fromkeys(places, (0, 0))
    rows: dict[int, list[RoundCost]] = {node: [] for node in places}
    for number in range(1, plan.rounds + 1):
        seconds = _round(grid, plan)
        for node, place in places.items():
            before, wire[node] = wire[node], service.wire(node)
            rows[node].append(
                RoundCost(
                    carrier="link",
                    app=plan.app,
                    node=place,
                    round=number,
                    payload_bytes=plan.payload_bytes,
                    wire_up_bytes=wire[node][0] - before[0],
                    wire_down_bytes=wire[node][1] - before[1],
                    round_seconds=seconds,
                    rss_mb=memory_mb(running[place].pid, "VmRSS"),
                )
            )
    time.sleep(REST_S)
    before_idle = {node: sum(service.wire(node)) for node in places}
    time.sleep(plan.idle_s)
    nodes = [
        summed(
            rows[node],
            memory_mb(running[place].pid, "VmRSS"),
            memory_mb(running[place].pid, "VmHWM"),
            (sum(service.wire(node)) - before_idle[node]) / plan.idle_s if plan.idle_s else None,
            f"all {plan.rounds} rounds, with the connection",
        )
        for node, place in sorted(places.items(), key=lambda item: item[1])
    ]
    return Measured([row for node in rows.values() for row in node], nodes)


def _round(grid: LinkGrid, plan: Plan) -> float:
    content = RecordDict()
    put_blob(content, os.urandom(plan.payload_bytes))
    began = time.perf_counter()
    messages = [Message(content, node, "train") for node in grid.get_node_ids()]
    replies = grid.send_and_receive(messages, timeout=PATIENCE_S)
    seconds = time.perf_counter() - began
    if len(replies) != plan.devices or any(reply.has_error() for reply in replies):
        raise RunError(f"All {plan.devices} devices should answer. Found {len(replies)} replies: {replies}.")
    return seconds


@contextmanager
def _devices(plan: Plan, tokens: Sequence[str], folder: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    running: list[subprocess.Popen[bytes]] = []
    try:
        for place, token in enumerate(tokens):
            command = [*PHLOEM, "join", token, "--once", "--app", plan.app]
            command += ["--state", str(folder / str(place)), "--keepalive", str(plan.keepalive_s)]
            with (folder / f"{place}.log").open("wb") as log:
                running.append(subprocess.Popen(command, stdout=log, stderr=log))
        yield running
    finally:
        for process in running:
            process.kill()
            process.wait()


def _wait(service: LinkService, devices: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while len(service.connected()) < devices:
        if time.monotonic() > deadline:
            raise RunError(f"{devices} devices should connect. Found {len(service.connected())}.")
        time.sleep(0.05)


def memory_mb(pid: int, which: str) -> float:
    """Return a figure of a process's memory, such as VmRSS, in MB of 10^6 bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{which}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RunError(f"The system should tell the memory of process {pid}. Found nothing.")
