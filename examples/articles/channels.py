"""Claim: without 30 % of the channels a network computes 30 % less and predicts as well."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from examples.articles.claim import Claim, Found, Row, main
from examples.articles.school import AFTER_PRUNING, School
from phloem.server.shrink.channels import RANKINGS, pruned
from phloem.server.shrink.lessons import teach
from phloem.server.shrink.network import macs

SHARES = (0.3, 0.5)


def measure(school: School) -> list[Row]:
    """Remove channels by every ranking, then give lessons on the proxy; the best is chosen on validation."""
    proxy, full = school.federation.proxy, macs(school.teacher, school.shape)
    teacher = school.accuracy(school.teacher)
    rankings = RANKINGS if school.data == "digits" else ("l2", "random")
    rows: list[Row] = []
    for share in SHARES:
        tried: list[dict[str, float | str]] = []
        for ranking in rankings:
            small = pruned(school.teacher, share, proxy, ranking, seed=school.seed)
            untaught = school.accuracy(small)
            teach(small, school.questions, AFTER_PRUNING[school.data], seed=school.seed)
            tried.append(
                {
                    "what": f"{share:.0%} {ranking}",
                    "multiplications": macs(small, school.shape) / full,
                    "untaught_points": untaught - teacher,
                    "points": school.accuracy(small) - teacher,
                    "validation": school.accuracy(small, "validation"),
                }
            )
        best = max(tried, key=lambda row: float(row["validation"]))
        rows += [*tried, {**best, "what": f"{share:.0%} chosen"}]
    return rows


def verdict(found: Found) -> str:
    """Say it in figures."""
    parts = []
    for data, rows in found.items():
        some, half = rows["30% chosen"], rows["50% chosen"]
        parts.append(
            f"{data}: 30 % of the channels are {1 - some['multiplications']:.0%} of the multiplications, "
            f"{some['points']:+.2f} pt after lessons ({some['untaught_points']:+.1f} before; random channels "
            f"{rows['30% random']['points']:+.2f}); 50 % are {1 - half['multiplications']:.0%}, "
            f"{half['points']:+.2f} pt"
        )
    return "Half the work, not 30 % less, and as good only after lessons. " + "; ".join(parts) + "."


CLAIM = Claim(
    name="channels",
    says="Removing 30 % of the channels saves about 30 % of the computation; accuracy stays.",
    as_written="d' = (I' J' K' d) a",
    corrected="MACs' = sum over layers of c'_in c'_out k^2 H W: about (1 - p)^2 of before",
    measure=measure,
    verdict=verdict,
)

if __name__ == "__main__":
    main(CLAIM)
