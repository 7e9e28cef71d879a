"""What a round costs a device beyond its payload, on the link and on Flower's own engine, in one run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from phloem.references import load_reference
from phloem.units import human_bytes

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
    """Return the nodes for people, a column each: 80 characters hold three pairs of them."""
    nodes = found["nodes"]
    made = Table("", *(f"{row['carrier']}\n{row['app']} {row['node']}" for row in nodes), box=SIMPLE_HEAD)
    told: dict[str, Callable[[Row], str]] = {
        "payload": lambda row: f"{row['payload_bytes']:,.0f} B",
        "up": lambda row: f"{row['wire_up_bytes']:,.0f} B",
        "down": lambda row: f"{row['wire_down_bytes']:,.0f} B",
        "a round": lambda row: _time(row["round_seconds"]),
        "idle": lambda row: _a_second(row["idle_bytes_per_second"]),
        "at rest": lambda row: f"{row['rss_mb']:.0f} MB",
        "at work": lambda row: f"{row['working_rss_mb']:.0f} MB",
        "at most": lambda row: f"{row['peak_rss_mb']:.0f} MB",
    }
    for name, cell in told.items():
        made.add_row(name, *map(cell, nodes))
    return made


def _a_second(rate: float | None) -> str:
    return "" if rate is None else f"{human_bytes(rate)}/s"


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{1000 * seconds:.1f} ms"
