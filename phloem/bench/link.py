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
Row = dict[str, Any]
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


def measure(wanted: Wanted, say: Callable[[str], None] = lambda text: None) -> dict[str, list[Row]]:
    """Return `rounds`, a row for each node and round, and `nodes`, what those of each node come to.

    Raises:
        RunError: a node did not come or did not answer.
    """
    found: dict[str, list[Row]] = {"rounds": [], "nodes": []}

    def take(carrier: str, plan: Any, name: str) -> None:
        rows = asdict(load_reference(carrier)(plan))
        for key, told in found.items():
            told += [{**row, "app": name} for row in rows[key]]

    for name, app in APPS.items():
        say(f"link, {name} …")
        plan = load_reference(PLAN)(
            app=app,
            devices=wanted.devices,
            rounds=wanted.rounds,
            payload_bytes=wanted.payload_bytes,
            idle_s=wanted.idle_s,
        )
        take(LINK, plan, name)
        if wanted.against_supernode and name == "numpy":
            say("Flower's SuperNodes …")
            take(SUPERNODE, replace(plan, rounds=wanted.peer_rounds), name)
    return found


def table(found: Mapping[str, list[Row]]) -> Table:
    """Return the nodes for people."""
    made = Table(
        "carrier", "app", "node", "payload", "up", "down", "a round", "idle", "at rest", "at work", "at most"
    )
    for row in found["nodes"]:
        idle = row["idle_bytes_per_second"]
        made.add_row(
            str(row["carrier"]),
            str(row["app"]),
            str(row["node"]),
            f"{row['payload_bytes']} B",
            f"{row['wire_up_bytes']:.0f} B",
            f"{row['wire_down_bytes']:.0f} B",
            f"{1000 * row['round_seconds']:.1f} ms",
            "" if idle is None else f"{idle:.1f} B/s",
            f"{row['rss_mb']:.0f} MB",
            f"{row['working_rss_mb']:.0f} MB",
            f"{row['peak_rss_mb']:.0f} MB",
        )
    return made
