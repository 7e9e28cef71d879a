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
from statistics import median

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
class Cost:
    """What one node cost; bytes are means over the rounds, from the first byte of the connection on."""

    carrier: str
    app: str
    node: int
    rounds: int
    payload_bytes: int
    wire_up_bytes: float
    wire_down_bytes: float
    round_seconds: float
    """The median."""
    rss_mb: float
    """What the node's processes held after the rounds; MB of 10^6 bytes."""
    peak_rss_mb: float
    """The most that they held at any time."""
    idle_bytes_per_second: float | None = None
    """Both ways, while nothing was asked."""


def measure(plan: Plan) -> list[Cost]:
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
) -> list[Cost]:
    _wait(service, plan.devices)
    seconds = [_round(grid, plan) for _ in range(plan.rounds)]
    places = {place.node: place.place for place in service.registry.places()}
    before = {node: service.wire(node) for node in places}
    time.sleep(plan.idle_s)
    after = {node: service.wire(node) for node in places}
    return [
        Cost(
            carrier="link",
            app=plan.app,
            node=place,
            rounds=plan.rounds,
            payload_bytes=plan.payload_bytes,
            wire_up_bytes=before[node][0] / plan.rounds,
            wire_down_bytes=before[node][1] / plan.rounds,
            round_seconds=median(seconds),
            rss_mb=memory_mb(running[place].pid, "VmRSS"),
            peak_rss_mb=memory_mb(running[place].pid, "VmHWM"),
            idle_bytes_per_second=(sum(after[node]) - sum(before[node])) / plan.idle_s
            if plan.idle_s
            else None,
        )
        for node, place in sorted(places.items(), key=lambda item: item[1])
    ]


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
