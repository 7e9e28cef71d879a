"""What a round costs a device beyond its payload, on the link and on Flower's own engine, in one run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from rich.table import Table

from phloem.references import load_reference

PLAN, LINK, SUPERNODE = (
    "phloem.server.link.bench:Plan",
    "phloem.server.link.bench:measure",
    "phloem.server.link.peer:measure",
)
APPS = {"numpy": "phloem.client.link.echo:app", "torch": "phloem.client.link.echo:torch_app"}


@dataclass(frozen=True)
class Wanted:
    """What to measure."""

    rounds: int = 20
    devices: int = 2
    payload_bytes: int = 1000
    idle_s: float = 0.0
    against_supernode: bool = False
    peer_rounds: int = 4
    """The peer takes seconds for a round."""


def measure(wanted: Wanted, say: Callable[[str], None] = lambda text: None) -> list[Mapping[str, Any]]:
    """Return a row for each node: bytes at the socket a round, seconds a round, memory.

    Raises:
        RunError: a node did not come or did not answer.
    """
    rows: list[Mapping[str, Any]] = []
    for name, app in APPS.items():
        say(f"link, {name} …")
        plan = load_reference(PLAN)(
            app=app,
            devices=wanted.devices,
            rounds=wanted.rounds,
            payload_bytes=wanted.payload_bytes,
            idle_s=wanted.idle_s,
        )
        rows += [{**asdict(cost), "app": name} for cost in load_reference(LINK)(plan)]
        if wanted.against_supernode and name == "numpy":
            say("Flower's SuperNodes …")
            peer = load_reference(SUPERNODE)(replace(plan, rounds=wanted.peer_rounds))
            rows += [{**asdict(cost), "app": name} for cost in peer]
    return rows


def table(rows: list[Mapping[str, Any]]) -> Table:
    """Return the rows for people."""
    made = Table("carrier", "app", "node", "rounds", "payload", "up", "down", "a round", "memory", "at most")
    for row in rows:
        made.add_row(
            str(row["carrier"]),
            str(row["app"]),
            str(row["node"]),
            str(row["rounds"]),
            f"{row['payload_bytes']} B",
            f"{row['wire_up_bytes']:.0f} B",
            f"{row['wire_down_bytes']:.0f} B",
            f"{1000 * row['round_seconds']:.1f} ms",
            f"{row['rss_mb']:.0f} MB",
            f"{row['peak_rss_mb']:.0f} MB",
        )
    return made
