"""Numbers as people read them: bytes in thousands, percent, points, times."""

from __future__ import annotations

UNITS = ("B", "kB", "MB", "GB", "TB")
UNKNOWN, TIMES, MINUS = "\N{EN DASH}", "\N{MULTIPLICATION SIGN}", "\N{MINUS SIGN}"


def human_bytes(size: float | None) -> str:
    """Return three significant digits and a decimal unit, as `42.0 kB`: 1 kB is 1000 bytes."""
    if size is None:
        return UNKNOWN
    value, unit = _scaled(size)
    digits = f"{value:.3g}" if unit == "B" else f"{value:#.3g}".rstrip(".")
    return f"{digits if value < 999.5 else f'{value:,.0f}'} {unit}"


def tick_bytes(size: float) -> str:
    """Return a round number of bytes without needless digits, as `42 kB`."""
    value, unit = _scaled(size)
    return f"{value:,.12g} {unit}"


def human_ratio(ratio: float | None, digits: int = 3) -> str:
    """Return how many times as much, to so many significant digits; unknown where nothing was sent."""
    return UNKNOWN if ratio is None else f"{_significant(ratio, digits)}{TIMES}"


def human_percent(fraction: float | None) -> str:
    """Return a fraction in 0..1 as percent with one decimal."""
    return UNKNOWN if fraction is None else f"{100 * fraction:.1f} %"


def human_points(difference: float | None) -> str:
    """Return a difference of fractions in percentage points, signed, with one decimal."""
    if difference is None:
        return UNKNOWN
    points = round(100 * difference, 1)
    sign = "+" if points > 0 else MINUS if points < 0 else "±"
    return f"{sign}{abs(points):.1f}"


def human_seconds(seconds: float) -> str:
    """Return a duration with what matters of it: `0.31 s`, `12.4 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 59.95:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60:,} h {minutes % 60} min"


def plural(count: int, noun: str) -> str:
    """Return `1 round`, `40 rounds`, `12,000 rounds`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _scaled(size: float) -> tuple[float, str]:
    for unit in UNITS[:-1]:
        if size < 999.5:
            return size, unit
        size /= 1000
    return size, UNITS[-1]


def _significant(value: float, digits: int) -> str:
    return f"{float(f'{value:.{digits}g}'):,.12g}"
