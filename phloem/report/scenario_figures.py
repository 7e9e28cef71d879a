"""The figures of what the streams were made of: classes over time, and what was kept of each concept."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from phloem.measures.concepts import backward_transfer, final_accuracy, forgetting
from phloem.report.axes import Json, axis
from phloem.report.figures import Figure
from phloem.report.stream_questions import MixPart
from phloem.units import human_percent, human_points

COLOURS = 10
"""Classes that have a colour of their own; the page's style sheet names as many."""

CLIENTS_DRAWN = 16
LONGEST_NAME = 24
ROW = 0.86
"""How much of a client's row its bars fill."""


def mix_figure(parts: Sequence[MixPart], class_names: Sequence[str] = ()) -> Figure | None:
    """Draw which classes came to each client over time; None where nobody knows."""
    if not parts:
        return None
    names = list(dict.fromkeys(part.client for part in parts))
    rows = {client: i for i, client in enumerate(names)}
    classes = len(parts[0].shares)
    shown = _shown(parts)
    traces: list[Json] = []
    for place, label in enumerate(shown):
        x, y, base, words = [], [], [], []
        for part in parts:
            below = sum(part.shares[other] for other in shown[:place])
            share = part.shares[label] if label >= 0 else 1.0 - below
            if share > 1e-9:
                x.append((part.first_round + part.last_round) / 2)
                y.append(ROW * share)
                base.append(rows[part.client] - ROW / 2 + ROW * below)
                when = (
                    f"round {part.first_round}"
                    if part.first_round == part.last_round
                    else f"rounds {part.first_round} to {part.last_round}"
                )
                words.append(f"client {part.client}, {when}: {human_percent(share)}")
        traces.append(
            {
                "type": "bar",
                "name": _class_name(label, class_names)
                if label >= 0
                else f"{classes - len(shown) + 1} others",
                "x": x,
                "y": y,
                "base": base,
                "width": max(part.last_round - part.first_round + 1 for part in parts) * 0.98,
                "marker": {"color": f"--class-{place}" if label >= 0 else "--axis"},
                "customdata": words,
                "hovertemplate": "%{customdata}",
            }
        )
    return Figure(
        "mix",
        "What came to the clients",
        "The classes of the samples that reached each client, over the run: a row a client"
        + (f", the first {len(names)}" if len(names) == CLIENTS_DRAWN else "")
        + ". It is empty where a client was not asked or had nothing new. Where what is right changes but "
        "the classes do not, this picture stays the same.",
        traces,
        {
            "barmode": "overlay",
            "hovermode": "closest",
            "showlegend": True,
            "xaxis": axis("Round", showgrid=False),
            "yaxis": axis(
                "Client",
                showgrid=False,
                tickvals=list(range(len(names))),
                ticktext=names,
                range=[len(names) - 0.5, -0.5],
            ),
        },
        170 + 26 * len(names),
    )


def matrix_figure(matrix: NDArray[np.float64] | None) -> Figure | None:
    """Draw the accuracy on each concept after each was learned; None for fewer than two concepts."""
    if matrix is None:
        return None
    lost, back = forgetting(matrix), backward_transfer(matrix)
    size = len(matrix)
    names = [f"no. {i + 1}" for i in range(size)]  # a bare number would be taken for a place on the axis
    values = (100 * matrix).round(1).tolist()
    return Figure(
        "concepts",
        "What was kept of each concept",
        "Accuracy of the global model on the test samples as each concept makes them, when each had been "
        "learned: down the page, time goes on. In the end it is "
        f"{human_percent(final_accuracy(matrix))} over all concepts. Forgetting, what an earlier one lost "
        f"from its best, is {human_points(lost)} points; backward transfer, how it changed since it was "
        f"learned, {human_points(back)}.",
        [
            {
                "type": "heatmap",
                "x": names,
                "y": names,
                "z": values,
                "zmin": 0,
                "zmax": 100,
                "colorscale": [[0, "--card"], [1, "--run"]],
                "colorbar": {"title": {"text": "%"}, "outlinewidth": 0, "thickness": 12},
                "hovertemplate": "after concept %{y}, on concept %{x}: %{z} %<extra></extra>",
                "xgap": 2,
                "ygap": 2,
            }
        ],
        {
            "xaxis": axis("On concept", type="category", showgrid=False),
            "yaxis": axis("After concept", type="category", autorange="reversed", showgrid=False),
            "annotations": [
                {"x": names[j], "y": names[i], "text": f"{values[i][j]:.0f}", "showarrow": False}
                for i in range(size)
                for j in range(size)
                if size <= 12
            ],
        },
        140 + 46 * min(size, 12),
    )


def _class_name(label: int, names: Sequence[str]) -> str:
    return names[label][:LONGEST_NAME] if label < len(names) else f"class {label}"


def _shown(parts: Sequence[MixPart]) -> list[int]:
    """Return the classes that get a colour, in order; -1 stands for all others."""
    classes = len(parts[0].shares)
    if classes <= COLOURS:
        return list(range(classes))
    total = np.sum([part.shares for part in parts], axis=0)
    most = np.argsort(-total, kind="stable")[: COLOURS - 1]
    return [*sorted(int(label) for label in most), -1]
