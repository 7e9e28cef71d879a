"""Claim: a search on validation data finds better bit widths than a hand does."""

from __future__ import annotations

import sys
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from examples.articles.claim import Claim, Found, Row, main
from examples.articles.school import School
from phloem.server.shrink.lessons import Lesson
from phloem.server.shrink.search import search
from phloem.server.shrink.trial import Task, smallest, uniform

BITS, SHARES = (2, 3, 4, 6), (0.25, 0.375, 0.5, 0.625, 0.75)
TRIALS = 30
LESSONS = {
    "digits": Lesson(steps=400, learning_rate=0.005),
    "fashion_mnist": Lesson(steps=100, learning_rate=0.005),
}
ENOUGH = 0.2
"""Of the bytes, for a search to be worth it."""
ALLOWED_POINTS = {"digits": 0.5, "fashion_mnist": 2.0}
"""How far the hand's choice may be below the teacher on validation."""

NOTE = """\
The hand's choice is the smallest of 20 uniform settings (2, 3, 4 or 6 bits, five shares of the channels)
that is at most 0.5 points below the teacher on validation samples, 2 points on Fashion-MNIST, where lessons
have 100 steps instead of 400. The search has to be as accurate on validation as that choice.
Its seeds on Fashion-MNIST save 42, 32 and 1 % of the bytes: one in three found hardly anything."""


def measure(school: School) -> list[Row]:
    """Try the grid a hand would, then search; both get the same lessons and are judged on validation."""
    federation = school.federation
    task = Task(
        school.teacher,
        school.questions,
        federation.proxy,
        federation.validation,
        LESSONS[school.data],
        school.seed,
    )
    least = (school.accuracy(school.teacher, "validation") - ALLOWED_POINTS[school.data]) / 100
    grid = list(product(BITS, SHARES))
    by_hand = smallest([task.carry_out(uniform(task, bits, share)) for bits, share in grid], least)
    if by_hand is None:
        return []
    equal = by_hand.validation.accuracy
    found = smallest(search(task, TRIALS, equal), equal)
    rows: list[Row] = [
        {
            "what": what,
            "bytes": len(trial.data),
            "validation": 100 * trial.validation.accuracy,
            "test": school.accuracy(trial.network),
            "fewer_bytes": 1 - len(trial.data) / len(by_hand.data),
            "tried": tried,
        }
        for what, trial, tried in (("by hand", by_hand, len(grid)), ("searched", found, TRIALS))
        if trial is not None
    ]
    return rows


def verdict(found: Found) -> str:
    """Say it in figures."""
    parts = [
        f"{data}: {rows['searched']['bytes']:,.0f} bytes against {rows['by hand']['bytes']:,.0f}, "
        f"{rows['searched']['fewer_bytes']:.0%} fewer, validation {rows['searched']['validation']:.2f} "
        f"against {rows['by hand']['validation']:.2f} %, test {rows['searched']['test']:.2f} against "
        f"{rows['by hand']['test']:.2f} %"
        for data, rows in found.items()
        if "searched" in rows
    ]
    fewer = [rows["searched"]["fewer_bytes"] for rows in found.values() if "searched" in rows]
    word = "True" if fewer and min(fewer) >= ENOUGH else "Not reliably"
    return f"{word}, in {TRIALS} trials. " + "; ".join(parts) + "."


CLAIM = Claim(
    name="search",
    says="The best bit width is found by grid or Bayesian search on a validation set.",
    as_written="min d' subject to L(theta') = L(theta)",
    corrected="the Pareto front of (bytes of the real file, validation accuracy): L(theta') <= L(theta) + e",
    measure=measure,
    verdict=verdict,
    note=NOTE,
)

if __name__ == "__main__":
    main(CLAIM)
