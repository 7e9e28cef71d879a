"""Axes of the figures; those of bytes are labelled as the tables are: `20 kB`, not `20,000` or `20k`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from phloem.units import tick_bytes

Json = dict[str, Any]


def axis(title: str, **settings: Any) -> Json:
    """Return an axis in the page's look; `title` names the unit."""
    look = {
        "gridcolor": "--grid",
        "linecolor": "--axis",
        "zeroline": False,
        "automargin": True,
        "fixedrange": True,
    }
    return {"title": {"text": title, "font": {"size": 13, "color": "--soft"}}, **look, **settings}


def log_byte_axis(title: str, sizes: Iterable[float], *, sparse: bool = False) -> Json:
    """Return a logarithmic axis with a few ticks in every power of ten; the sizes are positive.

    `sparse` suits a narrow figure whose values are written beside it.
    """
    found = list(sizes)
    low, high = math.log10(min(found)), math.log10(max(found))
    choices = ((1,), (1, 3), (1, 2, 5))
    wanted = (high - low < 2.5) + (high - low < 1.2) - sparse
    digits = choices[max(0, wanted)]
    ticks = [digit * 10**power for power in range(max(0, int(low) - 1), int(high) + 2) for digit in digits]
    pad = max(0.08, (high - low) * 0.05)
    return axis(title, type="log", range=[low - pad, high + pad], tickangle=0, **_labelled(ticks))


def linear_byte_axis(title: str, highest: float) -> Json:
    """Return an axis from zero to a little over the highest value, with about five ticks."""
    rough = max(highest, 1) / 5
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * digit for digit in (1, 2, 2.5, 5, 10) if power * digit >= rough)
    ticks = [step * i for i in range(6)]
    return axis(title, range=[0, 1.05 * max(highest, 1)], **_labelled(ticks))


def _labelled(ticks: list[float]) -> Json:
    return {"tickvals": ticks, "ticktext": [tick_bytes(tick) for tick in ticks]}
