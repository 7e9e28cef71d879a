"""Many light devices on one server: do memory and file descriptors stay, and how many answers a second?

    python scripts/link_fleet.py [DEVICES] [ROUNDS]        (500 50)

The server is this process; the devices share another, each with its own key, journal and connection.
Exit codes: 0 stable, 3 not.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from flwr.app import Message, RecordDict

from phloem.client.journal import Journal
from phloem.client.link.echo import app
from phloem.client.link.enrol import enrol
from phloem.client.link.node import Node
from phloem.client.link.session import Device, Patience
from phloem.link.pages import Address
from phloem.records import put_blob
from phloem.server.link.authority import open_authority
from phloem.server.link.enrol import Enrolment
from phloem.server.link.grid import LinkGrid
from phloem.server.link.registry import Registry
from phloem.server.link.service import LinkService
from phloem.settings.link import LinkConfig

HERE, PAYLOAD, PATIENCE_S, WARM = "127.0.0.1", 1000, 120.0, 5
MOST_GROWTH_MB = 10.0


def serve(devices: int, rounds: int) -> bool:
    """Run the rounds; print what they cost; tell whether anything grew."""
    with tempfile.TemporaryDirectory(prefix="phloem-fleet-") as scratch:
        folder = Path(scratch)
        authority, registry = open_authority(folder), Registry(folder / "registry.sqlite")
        service = LinkService(authority, registry, LinkConfig())
        grid = LinkGrid(service, {}, devices, registry.run_id(folder))
        enrolment = Enrolment(service)
        door = enrolment.listen(Address(HERE, 0), service.listen(Address(HERE, 0)))
        tokens = [enrolment.token(HERE, door, place) for place in range(devices)]
        (folder / "tokens").write_text("\n".join(tokens))
        command = [sys.executable, __file__, "--devices", str(folder)]
        with subprocess.Popen(command) as fleet:
            try:
                began = time.monotonic()
                while len(service.connected()) < devices and time.monotonic() - began < PATIENCE_S:
                    time.sleep(0.1)
                print(
                    f"{len(service.connected())} devices after {time.monotonic() - began:.1f} s", flush=True
                )
                seen = []
                for number in range(rounds):
                    seconds = one_round(grid, devices)
                    seen.append((seconds, rss_mb(), len(os.listdir("/proc/self/fd"))))
                    if number % 10 == 0:
                        print(
                            f"round {number}: {seconds:.2f} s, {seen[-1][1]:.0f} MB, {seen[-1][2]} fds",
                            flush=True,
                        )
            finally:
                service.close(finished=True, reason="That is all.")
                fleet.wait(60)
        registry.close()
    steady = seen[WARM:]
    growth = steady[-1][1] - steady[0][1]
    report = {
        "devices": devices,
        "rounds": rounds,
        "devices_per_second": devices * len(steady) / sum(seconds for seconds, _, _ in steady),
        "rss_mb": steady[-1][1],
        "rss_growth_mb": growth,
        "fds": steady[-1][2],
        "fds_growth": steady[-1][2] - steady[0][2],
    }
    print(json.dumps(report, indent=2))
    return growth <= MOST_GROWTH_MB and report["fds_growth"] == 0


def one_round(grid: LinkGrid, devices: int) -> float:
    """Ask every device; return how long it took."""
    content = RecordDict()
    put_blob(content, os.urandom(PAYLOAD))
    began = time.perf_counter()
    replies = grid.send_and_receive(
        [Message(content, n, "train") for n in grid.get_node_ids()], timeout=PATIENCE_S
    )
    assert len(replies) == devices, f"{len(replies)} of {devices} answered"
    assert not any(reply.has_error() for reply in replies)
    return time.perf_counter() - began


async def attend(folder: Path) -> None:
    """Be all devices at once."""
    tokens = (folder / "tokens").read_text().split()
    entrance = asyncio.Semaphore(16)

    async def one(place: int, token: str) -> None:
        home = folder / f"device-{place}"
        async with entrance:
            member = await asyncio.to_thread(enrol, token, home, f"device {place}")
        with Journal(home / "journal.sqlite") as journal:
            patience = Patience(stay=False)
            await Device(Node(app, journal), member, patience, threaded=False).attend()

    await asyncio.gather(*(one(place, token) for place, token in enumerate(tokens)))


def rss_mb() -> float:
    """What this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if sys.argv[1:2] == ["--devices"]:
        asyncio.run(attend(Path(sys.argv[2])))
    else:
        counts = [int(text) for text in sys.argv[1:]]
        sys.exit(0 if serve(*(counts + [500, 50][len(counts) :])) else 3)
