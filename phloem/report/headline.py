"""The run in plain words: what it saved, and what that cost in accuracy.

Accuracies are compared by the mean of the last evaluations, up to five: a single one of a federation
of a few clients moves by more than what compression costs. Where those reach back into the first half of
the run, when the model was still poor, the last one alone counts.
"""

from __future__ import annotations

from dataclasses import dataclass

from phloem.stream_summary import Streams
from phloem.summary import Summary, Traffic
from phloem.units import (
    human_bytes,
    human_percent,
    human_points,
    human_ratio,
    human_seconds,
    plural,
)

NOTICEABLE = 1.05  # a ratio below this is not a saving to put into a title


@dataclass(frozen=True, slots=True)
class Tile:
    """A number to be read at a glance: what it is, the number, what stands behind it, its unit."""

    label: str
    value: str
    note: str
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Headline:
    """The page's title, the sentence below it, and the tiles."""

    title: str
    sentence: str
    tiles: tuple[Tile, ...]
    small: tuple[tuple[str, str], ...]


def headline(summary: Summary, wire_bytes: tuple[int | None, int | None], state: str) -> Headline:
    """Put a summary into words.

    `wire_bytes` are those up and down, None where there was no wire; `state` is the ledger's fact,
    which a reader has to know where the run is not `finished`.
    """
    dense = summary.reference
    ours, theirs = _end(summary)
    difference = _difference(ours, theirs)
    last_difference = _difference(summary.accuracy, dense.accuracy if dense else None)
    small = [
        ("Rounds", f"{summary.rounds:,}"),
        ("Clients", f"{summary.clients:,}"),
        ("Time", human_seconds(summary.seconds)),
        ("Updates rejected", f"{summary.rejected:,}"),
    ]
    if summary.client_updates_per_second is not None:
        small.append(("Client updates a second", f"{summary.client_updates_per_second:,.3g}"))
    if wire_bytes != (None, None):
        small.append(("On the wire, up / down", " / ".join(human_bytes(size) for size in wire_bytes)))
    return Headline(
        _title(summary),
        _sentence(summary, difference)
        + ("" if state == "finished" else f" The run is not finished: {state}."),
        (
            Tile("Saved up", human_ratio(summary.uplink.saved_ratio), _instead(summary.uplink)),
            Tile("Saved down", human_ratio(summary.downlink.saved_ratio), _instead(summary.downlink)),
            *(
                (
                    _reached(summary),
                    Tile(
                        "Against dense",
                        human_points(difference),
                        f"dense: {human_percent(theirs)}"
                        + (f"; the last alone: {human_points(last_difference)}" if summary.settled else "")
                        if dense
                        else "no dense reference was run",
                        "points" if difference is not None else "",
                    ),
                )
                if summary.accuracy is not None or summary.streams is None
                else _streamed(summary.streams)
            ),
        ),
        tuple(small),
    )


def _end(summary: Summary) -> tuple[float | None, float | None]:
    """The accuracy that the run came to, and the dense one's beside it."""
    dense = summary.reference
    if summary.settled:
        return summary.accuracy_mean5, dense.accuracy_mean5 if dense else None
    return summary.accuracy, dense.accuracy if dense else None


def _reached(summary: Summary) -> Tile:
    if summary.accuracy is None:
        note = "there was no evaluation"
    elif summary.settled:
        note = f"mean of the last evaluations, up to five; the last alone: {human_percent(summary.accuracy)}"
    else:
        note = "of the last evaluation"
    return Tile("Test accuracy", human_percent(_end(summary)[0]), note)


def _streamed(streams: Streams) -> tuple[Tile, Tile]:
    """What a run without a test set came to on the samples before they were learned from."""
    label, value, note = "Prequential accuracy", streams.accuracy, "each sample before learning from it"
    if streams.pr_auc is not None:
        label, value, note = "PR-AUC", streams.pr_auc.value, "of anomaly scores, before learning"
    beside = {
        name: measure
        for name, other in streams.baselines.items()
        if (measure := other.accuracy if streams.pr_auc is None else other.pr_auc) is not None
    }
    name = max(beside, key=lambda name: beside[name], default=None)
    difference = None if name is None else _difference(value, beside[name])
    return (
        Tile(label, human_percent(value), note),
        Tile(
            "Against the best baseline",
            human_points(difference),
            f"{name}: {human_percent(beside[name])}" if name else "there was no baseline",
            "points" if difference is not None else "",
        ),
    )


def _difference(ours: float | None, theirs: float | None) -> float | None:
    return None if ours is None or theirs is None else ours - theirs


def _instead(traffic: Traffic) -> str:
    if traffic.saved_ratio is None:
        return "nothing was sent"
    return f"{human_bytes(traffic.payload_bytes)} instead of {human_bytes(traffic.dense_bytes)}"


def _title(summary: Summary) -> str:
    up, down = summary.uplink.saved_ratio, summary.downlink.saved_ratio
    if up is None and down is None:
        return "Nothing was sent yet"
    if up is None or down is None:
        return "No update came back yet"
    if up < NOTICEABLE and down < NOTICEABLE:
        return "Sent dense: no bytes saved"
    title = f"{_fewer(up)} bytes up, {_fewer(down)} down"
    return title[0].upper() + title[1:]


def _fewer(ratio: float) -> str:
    return f"{human_ratio(ratio)} fewer" if ratio >= NOTICEABLE else "no fewer"


def _sentence(summary: Summary, difference: float | None) -> str:
    who = f"{plural(summary.clients, 'client')} learned for {plural(summary.rounds, 'round')}"
    if summary.accuracy_mean5 is None:
        streams = summary.streams
        if streams is None or (streams.pr_auc is None and streams.accuracy is None):
            return f"{who}. The global model was not evaluated."
        if streams.pr_auc is not None:
            return f"{who}. The PR-AUC of their anomaly scores is {human_percent(streams.pr_auc.value)}."
        return (
            f"{who}. They were right on {human_percent(streams.accuracy)} of the samples before learning "
            "from them."
        )
    percent = human_percent(_end(summary)[0])
    right = f"{who}. In the end, the global model is right on {percent} of the test samples"
    if difference is None:
        return f"{right}. There is no dense run to compare it with."
    points = human_points(difference)
    if points[1:] == "0.0":
        return f"{right}, the same as with nothing compressed."
    beside = "more than" if difference > 0 else "less than"
    return f"{right}: {points[1:]} points {beside} the same run with nothing compressed."
