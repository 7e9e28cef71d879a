"""The link's benchmark for people: what a round costs each node, whole on a terminal of 80 columns."""

from __future__ import annotations

from rich.console import Console

from phloem.bench.link import table


def node(carrier: str, app: str, number: int) -> dict[str, object]:
    """Make the figures of a node, the widest there are."""
    return {
        "carrier": carrier,
        "app": app,
        "node": number,
        "payload_bytes": 1000,
        "wire_up_bytes": 17_234.5,
        "wire_down_bytes": 7_123.25,
        "round_seconds": 12.9345,
        "idle_bytes_per_second": None if app == "torch" else 405.2,
        "rss_mb": 273.6,
        "working_rss_mb": 401.2,
        "peak_rss_mb": 531.9,
    }


def test_nothing_is_cut_off_at_80_columns() -> None:
    """Protects the figures: three pairs of nodes stand side by side, and each number is whole."""
    kinds = [("link", "numpy"), ("supernode", "numpy"), ("link", "torch")]
    found = table({"nodes": [node(carrier, app, k) for carrier, app in kinds for k in (0, 1)]})
    console = Console(width=80)
    with console.capture() as taken:
        console.print(found)
    text = taken.get()
    assert "…" not in text
    for whole in ("supernode", "17,234 B", "7,123 B", "12.9 s", "405 B/s", "532 MB"):
        assert text.count(whole) >= 2
