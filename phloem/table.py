"""The table with which a simulation ends: what the run cost, beside what it would have cost uncompressed."""

from __future__ import annotations

from collections.abc import Callable

from rich.table import Table
from rich.text import Text

from phloem.stream_summary import Streams
from phloem.summary import Summary, Traffic
from phloem.units import human_bytes


def closing_table(summary: Summary) -> Table:
    """Return the run's table; the reference's column is there if a reference was made."""
    reference = summary.reference
    table = Table(title="What the run cost", title_style="bold", title_justify="left")
    table.add_column("")
    table.add_column("this run", justify="right")
    if reference is not None:
        table.add_column("dense, same seed", justify="right")

    def row(label: str, own: str, other: str) -> None:
        table.add_row(label, own, *([other] if reference is not None else []))

    if summary.accuracy is not None or summary.streams is None or reference is not None:
        row("accuracy, last", _percent(summary.accuracy), _percent(reference.accuracy if reference else None))
        if summary.settled:
            row(
                "accuracy, mean of last 5",
                _percent(summary.accuracy_mean5),
                _percent(reference.accuracy_mean5 if reference else None),
            )
    if summary.streams is not None:
        _add_streams(table, summary.streams, row)
    table.add_section()
    for name, own, other in (
        ("up", summary.uplink, reference.uplink if reference else None),
        ("down", summary.downlink, reference.downlink if reference else None),
    ):
        row(f"{name}: payload", human_bytes(own.payload_bytes), _bytes(other, "payload_bytes"))
        row(f"{name}: with Flower's objects", human_bytes(own.object_bytes), _bytes(other, "object_bytes"))
        row(f"{name}: as plain float32", human_bytes(own.dense_bytes), _bytes(other, "dense_bytes"))
        row(f"{name}: saved", _ratio(own.saved_ratio), _ratio(other.saved_ratio if other else None))
        table.add_section()
    dense = both_ways(reference.uplink, reference.downlink) if reference else None
    row(
        "both ways: saved",
        _ratio(both_ways(summary.uplink, summary.downlink)),
        _ratio(dense) if reference else "",
    )
    for width, part in summary.widths.items():
        row(f"width {width}: {_percent(part.share)} of the weights, accuracy", _percent(part.accuracy), "")
    row("rejected replies", str(summary.rejected), "")
    for code, count in summary.rejections.items():
        row(f"  {code}", str(count), "")
    if summary.abandoned:
        row("rounds abandoned", f"{summary.abandoned} of {summary.rounds}", "")
    row("time in rounds", f"{summary.seconds:.1f} s", "")
    if summary.why_rejected is not None:
        table.caption, table.caption_justify = Text(f"Rejected last: {summary.why_rejected}"), "left"
    return table


def _add_streams(table: Table, streams: Streams, row: Callable[[str, str, str], None]) -> None:
    """Add what the clients' streams came to; a run without drift, concepts or anomalies has fewer rows."""
    if streams.pr_auc is not None:
        table.add_section()
        row("PR-AUC, anomalies", _percent(streams.pr_auc.value), "")
        for name, beside in streams.baselines.items():
            row(f"  {name}", _percent(beside.pr_auc), "")
    elif streams.baselines:
        table.add_section()
        row("prequential accuracy", _percent(streams.accuracy), "")
        row("  worst tenth of clients", _percent(streams.worst_clients), "")
        for name, beside in streams.baselines.items():
            row(f"  {name}", _percent(beside.accuracy), "")
    if streams.forgetting is not None:
        row(f"forgetting, {streams.concepts} concepts", _percent(streams.forgetting), "")
    if streams.delay is not None:
        row("drift noticed after, median", f"{streams.delay:g} samples", "")
    if streams.alarms_false_per_1000 is not None:
        row("false alarms in 1,000 samples", f"{streams.alarms_false_per_1000:.2g}", "")
    if streams.skipped:
        row("unusable rows passed over", f"{streams.skipped:,}", "")


def both_ways(uplink: Traffic, downlink: Traffic) -> float | None:
    """Return how many times fewer payload bytes both directions together took than plain float32."""
    payload = uplink.payload_bytes + downlink.payload_bytes
    return (uplink.dense_bytes + downlink.dense_bytes) / payload if payload else None


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _ratio(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.1f}x"


def _bytes(traffic: Traffic | None, field: str) -> str:
    return "" if traffic is None else human_bytes(getattr(traffic, field))
