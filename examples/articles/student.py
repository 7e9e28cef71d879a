"""Claim: a student of a tenth of the size is two points worse than its teacher."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from examples.articles.claim import Claim, Found, Row, main
from examples.articles.school import STUDENTS, School
from phloem.server.shrink.graph import to_onnx
from phloem.server.shrink.int8 import quantise
from phloem.server.shrink.lessons import teach
from phloem.server.shrink.network import folded, parameters, predict
from phloem.server.shrink.quality import quality
from phloem.server.shrink.session import answers
from phloem.server.shrink.students import fitting

FRACTIONS = (10, 14, 20)
FAMILIES = {"digits": ("conv", "depthwise"), "fashion_mnist": ("conv",)}


def measure(school: School) -> list[Row]:
    """Teach students on the unlabelled proxy; the family is chosen on validation. Then int8 as well."""
    federation, size = school.federation, parameters(folded(school.teacher))
    teacher, rows = school.accuracy(school.teacher), []
    for fraction in FRACTIONS:
        tried = []
        for kind in fitting(school.shape, federation.classes, size // fraction):
            if kind.family not in FAMILIES[school.data]:
                continue
            student = kind.build(school.shape, federation.classes, seed=school.seed)
            teach(student, school.questions, STUDENTS[school.data], seed=school.seed)
            validation = federation.validation
            scores = quality(predict(student, validation.x), validation.y)
            tried.append(((scores.accuracy, -scores.loss), kind, student))
        _, kind, student = max(tried, key=lambda one: one[0])
        graph = to_onnx(student, school.shape)
        chosen, _ = quantise(graph, federation.proxy, federation.validation.x)
        weights = parameters(folded(student))
        rows.append(
            {
                "what": f"1/{fraction}",
                "student": str(kind),
                "teacher_accuracy": teacher,
                "fewer_weights": size / weights,
                "points": school.accuracy(student) - teacher,
                "int8_points": 100
                * quality(answers(chosen.graph, federation.test.x), federation.test.y).accuracy
                - teacher,
                "fewer_weight_bits": 32 * size / (8 * weights),
            }
        )
    return rows


def verdict(found: Found) -> str:
    """Say it in figures."""
    parts = []
    for data, rows in found.items():
        sizes = [
            f"1/{row['fewer_weights']:.1f} {row['points']:+.2f} pt (int8: {row['int8_points']:+.2f} pt at "
            f"{row['fewer_weight_bits']:.0f}x fewer weight bits)"
            for row in rows.values()
        ]
        parts.append(f"{data}, teacher {rows['1/10']['teacher_accuracy']:.1f} %: " + ", ".join(sizes))
    tenth = min(rows["1/10"]["points"] for rows in found.values())
    word = "True, and better" if tenth > -2 else "Not here"
    return f"{word}. " + "; ".join(parts) + "."


CLAIM = Claim(
    name="student",
    says="A student of 1/10 of the volume is 2 points below its teacher (85 % and 83 %).",
    as_written="L = a CE(p_s, y) + (1 - a) KL(p_t || p_s)",
    corrected="L = a CE(p_s, y) + (1 - a) T^2 KL(softmax(z_t / T) || softmax(z_s / T)), a = 0 without labels",
    measure=measure,
    verdict=verdict,
)

if __name__ == "__main__":
    main(CLAIM)
