"""Claim: distillation needs no temperature."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from examples.articles.claim import Claim, Found, Row, main
from examples.articles.school import School
from phloem.server.shrink.lessons import divergence
from phloem.server.shrink.network import predict

TEMPERATURES = (1.0, 2.0, 4.0, 8.0)


def measure(school: School) -> list[Row]:
    """Take both losses' gradients at an undecided student, and how sure the teacher's answers are."""
    wanted = torch.tensor(predict(school.teacher, school.federation.proxy))
    rows: list[Row] = []
    for temperature in TEMPERATURES:
        answer = torch.zeros_like(wanted, requires_grad=True)
        divergence(answer, wanted, temperature).backward()  # type: ignore[no-untyped-call]
        assert answer.grad is not None
        size = float(answer.grad.norm())
        softened = torch.softmax(wanted / temperature, dim=1)
        rows.append(
            {
                "what": f"T = {temperature:g}",
                "gradient": size,
                "gradient_without_square": size / temperature**2,
                "certainty": 100 * float(softened.amax(1).mean()),
            }
        )
    return rows


def verdict(found: Found) -> str:
    """Say it in figures."""
    parts = []
    for data, rows in found.items():
        first, last = rows["T = 1"], rows["T = 8"]
        parts.append(
            f"{data}: at T = 1 the teacher is {first['certainty']:.1f} % sure, its answers hardly more "
            f"than labels; at T = 8 the gradient is {last['gradient'] / first['gradient']:.2f}x with T^2 and "
            f"{last['gradient_without_square'] / first['gradient']:.3f}x without"
        )
    return "Incomplete. " + "; ".join(parts) + "."


CLAIM = Claim(
    name="temperature",
    says="Soft labels transfer what the teacher knows; the loss has no temperature.",
    as_written="L = a CE + (1 - a) KL(p_t || p_s)",
    corrected="L = a CE + (1 - a) T^2 KL(softmax(z_t / T) || softmax(z_s / T))",
    measure=measure,
    verdict=verdict,
)


if __name__ == "__main__":
    main(CLAIM)
