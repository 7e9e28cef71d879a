"""Error against rate, both logarithmic, as an SVG that needs nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from itertools import cycle

Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 860, 520
LEFT, RIGHT, TOP, BOTTOM = 64, 610, 40, 470
INK, FAINT = "#333", "#e4e4e4"
OWN_COLOURS = ("#d62728", "#1f77b4", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b")
PEER_COLOURS = (
    *("#005f73", "#e377c2", "#bcbd22", "#7f7f7f", "#17becf", "#9b2226", "#6a994e"),
    *("#3d405b", "#e09f3e", "#b5838d", "#4361ee", "#2b2d42", "#ff9f9f", "#00a6a6"),
)
LINE_COLOURS = ("#999", INK)
LINE_HEIGHT = 20


class Axis:
    """Places numbers of one axis on the page, from `start` to `end`."""

    def __init__(self, least: float, most: float, start: float, end: float) -> None:
        self.least, self.most = math.log10(least), math.log10(most)
        self.start, self.end = start, end

    def __call__(self, value: float) -> float:
        """Where a number is drawn."""
        share = (math.log10(value) - self.least) / (self.most - self.least)
        return round(self.start + share * (self.end - self.start), 1)

    def decades(self) -> list[float]:
        """The powers of ten on it."""
        return [10.0**power for power in range(math.ceil(self.least), math.floor(self.most) + 1)]


def scatter(
    title: str, own: Mapping[str, Points], peers: Mapping[str, Points], lines: Mapping[str, Points]
) -> str:
    """Draw curves as points, joined, `own` ones filled and `peers` hollow, and `lines` as dashes.

    What is outside the axes is left out, and so is a curve of which nothing is left.
    """
    x, y = Axis(0.005, 40, LEFT, RIGHT), Axis(3e-7, 1.6, BOTTOM, TOP)
    parts = [*_frame(title, x, y)]
    place = TOP + 8

    def draw(name: str, points: Points, colour: str, width: float, mark: str) -> None:
        nonlocal place
        places = [(x(a), y(b)) for a, b in sorted(points) if _on(x, a) and _on(y, b)]
        if not places:
            return
        stroke = f'stroke="{colour}" stroke-width="{width}"' + ("" if mark else ' stroke-dasharray="5 4"')
        path = " ".join(f"{a},{b}" for a, b in places)
        parts.append(f'<polyline points="{path}" fill="none" {stroke}/>')
        parts.append(f'<path d="M{RIGHT + 16} {place}h28" {stroke}/>')
        marks = [*places, (RIGHT + 30, place)] if mark else []
        parts.extend(f'<circle cx="{a}" cy="{b}" {mark}/>' for a, b in marks)
        parts.append(f'<text x="{RIGHT + 52}" y="{place + 4}">{escape(name)}</text>')
        place += LINE_HEIGHT

    for colour, (name, points) in zip(cycle(OWN_COLOURS), own.items(), strict=False):
        draw(name, points, colour, 2, f'r="4.5" fill="{colour}"')
    for colour, (name, points) in zip(cycle(PEER_COLOURS), peers.items(), strict=False):
        draw(name, points, colour, 1, f'r="3" fill="white" stroke="{colour}" stroke-width="1.5"')
    for colour, (name, points) in zip(cycle(LINE_COLOURS), lines.items(), strict=False):
        draw(name, points, colour, 1.2, "")
    return "\n".join([*parts, "</svg>", ""])


def _on(axis: Axis, value: float) -> bool:
    return value > 0 and axis.least <= math.log10(value) <= axis.most


def _frame(title: str, x: Axis, y: Axis) -> list[str]:
    """The page, its title and its grid."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="sans-serif" font-size="13" fill="{INK}">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="24" font-size="16" font-weight="bold">{escape(title)}</text>',
        f'<text x="{(LEFT + RIGHT) / 2}" y="{BOTTOM + 40}" text-anchor="middle">bits per parameter</text>',
        f'<text transform="translate(18 {(TOP + BOTTOM) / 2}) rotate(-90)" text-anchor="middle">NMSE</text>',
    ]
    for value in x.decades():
        parts.append(f'<path d="M{x(value)} {TOP}V{BOTTOM}" stroke="{FAINT}"/>')
        parts.append(f'<text x="{x(value)}" y="{BOTTOM + 18}" text-anchor="middle">{value:g}</text>')
    for value in y.decades():
        power = round(math.log10(value))
        text = f'10<tspan dy="-5" font-size="9">{power}</tspan>' if power else "1"
        parts.append(f'<path d="M{LEFT} {y(value)}H{RIGHT}" stroke="{FAINT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(value) + 4}" text-anchor="end">{text}</text>')
    box = f'x="{LEFT}" y="{TOP}" width="{RIGHT - LEFT}" height="{BOTTOM - TOP}"'
    parts.append(f'<rect {box} fill="none" stroke="{INK}"/>')
    return parts
