"""What a measure cost: bytes for each unit of it, and bytes until it was first reached."""

from __future__ import annotations

from collections.abc import Sequence


def bytes_per_point(size_bytes: int, before: float, after: float) -> float | None:
    """Return the bytes for each hundredth that a measure in 0..1 rose; None where it did not rise."""
    return size_bytes / (100.0 * (after - before)) if after > before else None


def bytes_to_reach(target: float, points: Sequence[tuple[int, float]]) -> int | None:
    """Return the bytes sent when a measure first reached `target`; None where it never did.

    `points` are (bytes sent so far, value), in the order of time. Law: rises with `target`.
    """
    return next((size for size, value in points if value >= target), None)
