"""Claim: a singular value decomposition compresses the weights."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from examples.articles.claim import Claim, Found, Row, main
from examples.articles.school import School
from phloem.server.shrink.lessons import Lesson, teach
from phloem.server.shrink.lowrank import factorised
from phloem.server.shrink.network import folded, parameters, weighty

SHARES = (0.5, 0.25)
LESSON = Lesson(steps=400, learning_rate=0.005)


def measure(school: School) -> list[Row]:
    """Count a full decomposition; then keep a share of the weights in factors, before and after lessons."""
    network = school.teacher
    matrices = [layer.get_parameter("weight").flatten(1).shape for layer in weighty(network).values()]
    full = sum(min(m, n) * (m + n + 1) for m, n in matrices) / sum(m * n for m, n in matrices)
    rows: list[Row] = [{"what": "full", "weights": full, "untaught_points": 0.0, "points": 0.0}]
    for share in SHARES:
        small = factorised(network, share)
        untaught = school.accuracy(small)
        teach(small, school.questions, LESSON, seed=school.seed)
        teacher = school.accuracy(school.teacher)
        rows.append(
            {
                "what": f"{share:.0%}",
                "weights": parameters(folded(small)) / parameters(folded(network)),
                "untaught_points": untaught - teacher,
                "points": school.accuracy(small) - teacher,
            }
        )
    return rows


def verdict(found: Found) -> str:
    """Say it in figures."""
    parts = [
        f"{data}: all singular values are {rows['full']['weights']:.2f}x the weights; "
        + ", ".join(
            f"{rows[what]['weights']:.0%} of them {rows[what]['untaught_points']:+.1f} pt, after lessons "
            f"{rows[what]['points']:+.2f}"
            for what in ("50%", "25%")
        )
        for data, rows in found.items()
    ]
    word = "False without a cut; true with one and lessons, the output layer left whole. "
    return word + "; ".join(parts) + "."


CLAIM = Claim(
    name="factors",
    says="Low-rank decomposition A = U S V^T compresses a layer.",
    as_written="A = U S V^T",
    corrected="A ~ U_r S_r V_r^T holds r (m + n + 1) numbers: fewer only if r < m n / (m + n + 1)",
    measure=measure,
    verdict=verdict,
    data=("digits",),
)


if __name__ == "__main__":
    main(CLAIM)
