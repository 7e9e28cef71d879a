"""The figures, as plain data for plotly.js: traces, a layout, and the words around them.

A text that begins with `--` is the name of a colour in the page's style sheet; the page puts the
colour in when it draws, so that figures follow the reader's light or dark theme.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from phloem.ledger import Distillation
from phloem.report.axes import Json, axis, linear_byte_axis, log_byte_axis
from phloem.report.questions import Ladder, Progress, RoundBytes
from phloem.units import human_bytes, human_percent, human_points, human_ratio, plural

WORDS = {"up": "Up, client to server", "down": "Down, server to client"}
COLOURS = {"up": "--up", "down": "--down"}


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure: `name` is its id on the page, `note` the sentences below its title."""

    name: str
    title: str
    note: str
    traces: list[Json]
    layout: Json
    height: int = 360


def accuracy_figure(run: Sequence[Progress], reference: Sequence[Progress]) -> Figure | None:
    """Draw accuracy against cumulative bytes; None without an evaluation after which bytes were sent."""
    lines = (
        ("This run", run, {"color": "--run", "width": 3}, "circle"),
        ("Dense reference", reference, {"color": "--reference", "width": 2, "dash": "dot"}, "square"),
    )
    traces = [trace for line in lines if (trace := _progress_trace(*line))["x"]]
    if not traces:
        return None
    return Figure(
        "accuracy",
        "Accuracy for the bytes it took",
        "Test accuracy after each round, against all bytes sent until then, up and down. "
        "Left is cheaper, higher is better.",
        traces,
        {
            "hovermode": "closest",
            "xaxis": log_byte_axis(
                "Payload sent so far (bytes, log scale)",
                [x for trace in traces for x in trace["x"]],
            ),
            "yaxis": axis("Test accuracy (%)"),
        },
        420,
    )


def bytes_figure(rounds: Sequence[RoundBytes]) -> Figure | None:
    """Draw the bytes of each round, up on down; None where nothing was sent."""
    if not rounds:
        return None
    traces: list[Json] = [
        {
            "type": "bar",
            "name": direction.capitalize(),
            "x": [row.round for row in rounds],
            "y": sizes,
            "marker": {"color": COLOURS[direction]},
            "customdata": [human_bytes(size) for size in sizes],
            "hovertemplate": "%{customdata}",
        }
        for direction, sizes in (("down", [r.down for r in rounds]), ("up", [r.up for r in rounds]))
    ]
    return Figure(
        "bytes",
        "Bytes a round",
        "Payload of all clients together. Down goes the step from the model that a client "
        "holds to the global one, however long it was away.",
        traces,
        {
            "barmode": "stack",
            "bargap": 0.15,
            "hovermode": "x unified",
            "xaxis": axis("Round", showgrid=False),
            "yaxis": linear_byte_axis("Payload of the round (bytes)", max(r.up + r.down for r in rounds)),
        },
    )


def ladder_figures(ladders: Sequence[Ladder]) -> list[Figure]:
    """Draw each ladder, all on the same scale: the mean size of a message after each stage."""
    sizes = [max(size, 1.0) for ladder in ladders for _, size in ladder.steps]  # a log axis has no zero
    longest = max((len(stage) for ladder in ladders for stage, _ in ladder.steps), default=0)
    return [_ladder_figure(ladder, f"stages-{i}", sizes, longest) for i, ladder in enumerate(ladders)]


def _ladder_figure(ladder: Ladder, name: str, all_sizes: Sequence[float], longest: int) -> Figure:
    sizes = [max(size, 1.0) for _, size in ladder.steps]
    places = list(range(len(sizes)))
    shares = [1.0, *(before / after for before, after in pairwise(sizes))]
    colour = COLOURS[ladder.direction]
    look = {"xref": "paper", "x": 1.03, "xanchor": "left", "align": "left", "showarrow": False}
    return Figure(
        name,
        WORDS[ladder.direction],
        f"Mean of {plural(ladder.messages, 'message')}: {human_ratio(sizes[0] / sizes[-1])} smaller.",
        [
            {
                "type": "scatter",
                "mode": "lines+markers",
                "x": sizes,
                "y": places,
                "line": {"color": colour, "width": 3, "shape": "vh"},
                "marker": {"size": 11, "color": colour},
                "hoverinfo": "skip",
            }
        ],
        {
            "showlegend": False,
            "margin": {"l": 14 + 8 * longest, "r": 116, "t": 8, "b": 8},
            "xaxis": log_byte_axis("Mean size (bytes, log scale)", all_sizes, sparse=True),
            "yaxis": axis(
                "",
                tickvals=places,
                ticktext=[stage for stage, _ in ladder.steps],
                range=[len(sizes) - 0.5, -0.5],
            ),
            "annotations": [
                {
                    **look,
                    "y": place,
                    "text": human_bytes(size) + (f"  ÷ {share:.3g}" if share >= 1.05 else ""),
                }
                for place, size, share in zip(places, sizes, shares, strict=True)
            ],
        },
        90 + 44 * len(sizes),
    )


def distillation_figure(rows: Sequence[Distillation]) -> Figure | None:
    """Draw what each distillation did to the accuracy, and whether it was kept; None without one."""
    if not rows:
        return None
    looks = ((True, "Accepted", "--good", "circle"), (False, "Refused", "--bad", "x"))
    traces: list[Json] = []
    for accepted, words, colour, symbol in looks:
        chosen = [row for row in rows if row.accepted is accepted]
        gains = [row.accuracy_after - row.accuracy_before for row in chosen]
        if chosen:
            traces.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "name": words,
                    "x": [row.round for row in chosen],
                    "y": [100 * gain for gain in gains],
                    "marker": {"color": colour, "symbol": symbol, "size": 11},
                    "customdata": [
                        f"{human_percent(row.accuracy_before)} → {human_percent(row.accuracy_after)}"
                        f" ({human_points(gain)} points)"
                        for row, gain in zip(chosen, gains, strict=True)
                    ],
                    "hovertemplate": "round %{x}: %{customdata}<extra></extra>",
                }
            )
    kept = sum(row.accepted for row in rows)
    return Figure(
        "distillation",
        "Distillation",
        f"What each distillation changed on the validation samples: {kept} accepted, "
        f"{len(rows) - kept} refused. One is accepted if it gains `server.distill.margin` and its loss is no "
        "higher; else the model before it is kept.",
        traces,
        {
            "hovermode": "closest",
            "showlegend": True,
            "xaxis": axis("Round", rangemode="tozero"),
            "yaxis": axis(
                "Change of accuracy (points)", zeroline=True, zerolinecolor="--axis", zerolinewidth=2
            ),
        },
    )


def _progress_trace(name: str, points: Sequence[Progress], line: Json, symbol: str) -> Json:
    drawn = [point for point in points if point.cumulative_bytes > 0]  # a log axis has no zero
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "x": [point.cumulative_bytes for point in drawn],
        "y": [100 * point.accuracy for point in drawn],
        "line": line,
        "marker": {"size": 6 if len(drawn) <= 60 else 4, "symbol": symbol, "color": line["color"]},
        "customdata": [
            f"round {point.round}: {human_percent(point.accuracy)} for {human_bytes(point.cumulative_bytes)}"
            for point in drawn
        ],
        "hovertemplate": "%{customdata}",
    }
