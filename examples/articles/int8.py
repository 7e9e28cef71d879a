"""Claim: int8 makes a model four times smaller and costs one point."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from examples.articles.claim import Claim, Found, Row, main
from examples.articles.school import School
from phloem.server.shrink.graph import to_onnx
from phloem.server.shrink.int8 import one_variant, quantise
from phloem.server.shrink.quality import agreement, quality
from phloem.server.shrink.session import answers

TEXTBOOK = "u8s8, per channel"


def measure(school: School) -> list[Row]:
    """Quantise the teacher after training; the variant is chosen by its agreement on validation."""
    test, proxy = school.federation.test, school.federation.proxy
    graph = to_onnx(school.teacher, school.shape)
    chosen, tried = quantise(graph, proxy, school.federation.validation.x)
    reference = answers(graph, test.x)
    before = 100 * quality(reference, test.y).accuracy
    rows: list[Row] = []
    usual = next(one.variant for one in tried if one.variant.name == TEXTBOOK)
    for what, quantised in (("chosen", chosen.graph), ("textbook", one_variant(graph, usual, proxy))):
        logits = answers(quantised, test.x)
        rows.append(
            {
                "what": what,
                "variant": chosen.variant.name if what == "chosen" else TEXTBOOK,
                "float_accuracy": before,
                "points": 100 * quality(logits, test.y).accuracy - before,
                "agreement": 100 * agreement(logits, reference),
                "smaller": graph.ByteSize() / quantised.ByteSize(),
            }
        )
    return rows


def verdict(found: Found) -> str:
    """Say it in figures."""
    parts = [
        f"{data}: {rows['chosen']['points']:+.2f} pt, {rows['chosen']['agreement']:.1f} % agreement, "
        f"file {rows['chosen']['smaller']:.2f}x smaller (textbook settings on this processor: "
        f"{rows['textbook']['points']:+.2f} pt, {rows['textbook']['agreement']:.1f} %)"
        for data, rows in found.items()
    ]
    worst = min(rows["chosen"]["points"] for rows in found.values())
    word = "Better than claimed on accuracy" if worst > -1 else "No better than claimed on accuracy"
    return f"{word}, and not quite 4x. " + "; ".join(parts) + "."


CLAIM = Claim(
    name="int8",
    says="8-bit integers make a model 4 times smaller for one point of accuracy, after fine-tuning.",
    as_written="x_q = round(x / s)",
    corrected="q = clip(round(x / s) + z, q_min, q_max), x' = s (q - z), s = (max - min) / (2^b - 1); "
    "bytes = n b / 8 + scales + graph",
    measure=measure,
    verdict=verdict,
)

if __name__ == "__main__":
    main(CLAIM)
