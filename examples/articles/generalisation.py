"""Claim: a compressed model generalises better."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from examples.articles.claim import Claim, Found, Row, main
from examples.articles.school import AFTER_PRUNING, School
from phloem.server.shrink.channels import pruned
from phloem.server.shrink.lessons import Lesson, teach
from phloem.server.shrink.network import folded, parameters, predict
from phloem.server.shrink.quality import quality
from phloem.server.shrink.students import fitting

FROM_CHANCE = Lesson(steps=1500, learning_rate=0.02)


def measure(school: School) -> list[Row]:
    """Compare the teacher with what was made of it, on the samples it was trained on and on new ones."""
    half = pruned(school.teacher, 0.5, school.federation.proxy, seed=school.seed)
    teach(half, school.questions, AFTER_PRUNING[school.data], seed=school.seed)
    budget = parameters(folded(school.teacher)) // 10
    kind = next(
        one for one in fitting(school.shape, school.federation.classes, budget) if one.family == "conv"
    )
    student = kind.build(school.shape, school.federation.classes, seed=school.seed)
    teach(student, school.questions, FROM_CHANCE, seed=school.seed)
    test, rows = school.federation.test, []
    for what, network in (
        ("teacher", school.teacher),
        ("half the channels", half),
        ("student, 1/10", student),
    ):
        scores = quality(predict(network, test.x), test.y)
        seen = school.accuracy(network, "train")
        rows.append(
            {
                "what": what,
                "train": seen,
                "test": 100 * scores.accuracy,
                "gap": seen - 100 * scores.accuracy,
                "test_loss": scores.loss,
                "ece": scores.ece,
            }
        )
    return rows


def verdict(found: Found) -> str:
    """Say it in figures."""
    parts = [
        f"{data}: "
        + ", ".join(
            f"{what} test {row['test']:.2f} %, train minus test {row['gap']:+.2f} pt, ECE {row['ece']:.3f}"
            for what, row in rows.items()
        )
        for data, rows in found.items()
    ]
    return "Not shown: what is smaller is at best as good on new samples. " + "; ".join(parts) + "."


CLAIM = Claim(
    name="generalisation",
    says="Compression removes redundancy and so improves generalisation.",
    as_written="(no formula)",
    corrected="compare test accuracy, not only the gap between training and test",
    measure=measure,
    verdict=verdict,
    data=("digits",),
)


if __name__ == "__main__":
    main(CLAIM)
