"""The figures of the clients' streams: how well they were predicted, what changed, who fared how."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from phloem.report.axes import Json, axis
from phloem.report.figures import Figure
from phloem.report.stream_questions import ClientScore, Curve, Event
from phloem.stream_summary import Streams
from phloem.units import human_bytes, human_percent, plural

BESIDE = ("--reference", "--up", "--down", "--bad")
DASHES = ("dot", "dash", "dashdot", "longdash")
DEEDS = {
    "asked": " The server asked a client with an alarm once more {}.",
    "forked": " It began a second global model and gave it to a client {}.",
    "moved": " A client changed to the other model {}.",
    "returned": " A client fitted the other model worse and went back {}.",
}
CLIENTS_DRAWN = 60
MARKS_DRAWN = 24


def prequential_figure(curves: Sequence[Curve], events: Sequence[Event], rounds: int) -> Figure | None:
    """Draw the run's prequential accuracy, the baselines' beside it, and drift; None without a curve."""
    if not curves:
        return None
    own, *others = curves
    traces = [
        _line("This run", own.rounds, own.faded, {"color": "--run", "width": 3}),
        _line("This run, last 1,000 samples", own.rounds, own.windowed, {"color": "--run", "width": 1}),
    ]
    for i, curve in enumerate(others):
        look = {"color": BESIDE[i % 4], "width": 2, "dash": DASHES[i % 4]}
        traces.append(_line(curve.name.capitalize(), curve.rounds, curve.faded, look))
    marks = _drift_marks(events)
    return Figure(
        "prequential",
        "Accuracy before learning",
        "Every sample is predicted before it is learned from. The curves forget: a sample counts 0.999 times "
        "the one after it."
        + (
            " Baselines are no part of the run: the trivial ones stand on each device and look at no input; "
            "trees and forests see all clients' samples in one place."
            if others
            else ""
        )
        + (
            " A vertical line marks rounds in which streams changed, the darker the more clients."
            if marks
            else ""
        ),
        traces,
        {
            "hovermode": "x unified",
            "xaxis": axis("Round", range=[0.5, max(rounds, 2) + 0.5], showgrid=False),
            "yaxis": axis("Prequential accuracy (%)"),
            "shapes": marks,
        },
        420,
    )


def anomaly_figure(
    parts: Sequence[tuple[int, float, float, float]], streams: Streams | None
) -> Figure | None:
    """Draw PR-AUC in parts of the run, with its sure bounds, and the baselines' over all of it."""
    if not parts or streams is None or streams.pr_auc is None:
        return None
    rounds = [part[0] for part in parts]
    traces: list[Json] = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": "This run",
            "x": rounds,
            "y": [100 * value for _, value, _, _ in parts],
            "error_y": {
                "type": "data",
                "symmetric": False,
                "array": [100 * (high - value) for _, value, _, high in parts],
                "arrayminus": [100 * (value - low) for _, value, low, _ in parts],
                "color": "--run",
            },
            "line": {"color": "--run", "width": 3},
            "marker": {"color": "--run", "size": 7},
            "hovertemplate": "%{y:.1f} %",
        }
    ]
    for i, (name, beside) in enumerate(streams.baselines.items()):
        if beside.pr_auc is not None:
            look = {"color": BESIDE[i % 4], "width": 2, "dash": DASHES[i % 4]}
            name = f"{name.capitalize()}, whole run"
            traces.append(_line(name, (rounds[0], rounds[-1]), (beside.pr_auc, beside.pr_auc), look))
    whole = streams.pr_auc
    return Figure(
        "anomalies",
        "Anomalies found",
        "The area under the precision-recall curve of the clients' anomaly scores, a part of the run at a "
        f"time; over the whole run it is {human_percent(whole.value)}, and between "
        f"{human_percent(whole.low)} and {human_percent(whole.high)} whatever the histograms hide. Accuracy "
        "is no measure where anomalies are rare.",
        traces,
        {
            "hovermode": "closest",
            "showlegend": True,
            "xaxis": axis("Round, the last of each part"),
            "yaxis": axis("PR-AUC (%)", rangemode="tozero"),
        },
        400,
    )


def drift_figure(events: Sequence[Event], streams: Streams | None, deeds: Mapping[str, int]) -> Figure | None:
    """Draw each client's changes and alarms along its stream; None where there were neither."""
    if not events or streams is None:
        return None
    names = list(dict.fromkeys(event.client for event in events))[:CLIENTS_DRAWN]
    looks = ((True, "Stream changed", "--down", "line-ns-open"), (False, "Alarm", "--bad", "circle"))
    traces: list[Json] = []
    for true, words, colour, symbol in looks:
        chosen = [event for event in events if event.true is true and event.client in names]
        if chosen:
            traces.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "name": words,
                    "x": [event.position for event in chosen],
                    "y": [event.client for event in chosen],
                    "marker": {
                        "color": colour,
                        "symbol": symbol,
                        "size": 16 if true else 8,
                        "line": {"color": colour, "width": 3 if true else 0},
                    },
                    "customdata": [
                        f"{event.what}, round {event.round}" if true else f"heard in round {event.round}"
                        for event in chosen
                    ],
                    "hovertemplate": "client %{y}, sample %{x}: %{customdata}<extra></extra>",
                }
            )
    return Figure(
        "drift",
        "Changes and alarms",
        _detection_words(streams)
        + "".join(DEEDS[deed].format(plural(count, "time")) for deed, count in deeds.items())
        + (f" The first {len(names)} clients with either." if len(names) == CLIENTS_DRAWN else ""),
        traces,
        {
            "hovermode": "closest",
            "showlegend": True,
            "xaxis": axis("Samples of the client's stream so far", rangemode="tozero"),
            "yaxis": axis("Client", type="category", categoryarray=names[::-1], showgrid=True),
        },
        150 + 20 * len(names),
    )


def spread_figure(scores: Sequence[ClientScore], streams: Streams | None) -> Figure | None:
    """Draw every client's accuracy, the worst first; None for fewer than two clients."""
    if len(scores) < 2 or streams is None or streams.worst_clients is None:
        return None
    worst = max(1, -(-len(scores) // 10))
    traces: list[Json] = []
    for name, colour, part, start in (
        ("Worst tenth", "--bad", scores[:worst], 0),
        ("Others", "--run", scores[worst:], worst),
    ):
        traces.append(
            {
                "type": "bar",
                "name": name,
                "x": list(range(start + 1, start + 1 + len(part))),
                "y": [100 * score.accuracy for score in part],
                "marker": {"color": colour},
                "customdata": [
                    f"client {score.client}: {human_percent(score.accuracy)} of "
                    + plural(score.samples, "sample")
                    + (f", kept {human_bytes(score.memory_bytes)}" if score.memory_bytes else "")
                    for score in part
                ],
                "hovertemplate": "%{customdata}<extra></extra>",
            }
        )
    return Figure(
        "spread",
        "How the clients fared",
        "Prequential accuracy of each client over all its samples, the worst first. The worst tenth comes to "
        f"{human_percent(streams.worst_clients)}, all samples together to {human_percent(streams.accuracy)}.",
        traces,
        {
            "hovermode": "closest",
            "showlegend": True,
            "bargap": 0.25,
            "xaxis": axis("Clients in order", showgrid=False, tickformat="d"),
            "yaxis": axis("Prequential accuracy (%)", range=[0, 100]),
        },
        320,
    )


def _detection_words(streams: Streams) -> str:
    words = [
        f"{plural(streams.drifts, 'change')} by the scenario, {plural(streams.alarms, 'alarm')} by detectors."
    ]
    if streams.drifts and streams.alarms:
        noticed = streams.drifts - (streams.drifts_missed or 0)
        words.append(
            f"{noticed} of {streams.drifts} changes had an alarm within 1,000 samples"
            + (f", after {streams.delay:g} samples in the median" if streams.delay is not None else "")
            + ", as the server hears it: at the end of a round."
        )
    if streams.alarms and streams.alarms_false_per_1000 is not None:
        false = streams.alarms_false_per_1000
        words.append(f"False alarms, which follow no change: {false:.2g} in 1,000 samples.")
    return " ".join(words)


def _drift_marks(events: Sequence[Event]) -> list[Json]:
    by_round = Counter(event.round for event in events if event.true)
    most = max(by_round.values(), default=1)
    if len(by_round) > MARKS_DRAWN:
        return []  # a fence tells nothing; the figure of changes does
    return [
        {
            "type": "line",
            "x0": number,
            "x1": number,
            "yref": "paper",
            "y0": 0,
            "y1": 1,
            "opacity": 0.25 + 0.6 * count / most,
            "layer": "below",
            "line": {"color": "--down", "width": 2},
        }
        for number, count in sorted(by_round.items())
    ]


def _line(name: str, x: Sequence[float], y: Sequence[float], line: Json) -> Json:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": list(x),
        "y": [100 * value for value in y],
        "line": line,
        "hovertemplate": "%{y:.1f} %",
    }
