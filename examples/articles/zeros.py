"""Claim: an L1 penalty makes weights zero, and zeros make the model small."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import copy

import numpy as np
import torch
from torch.nn import functional

from examples.articles.claim import Claim, Found, Row, main
from examples.articles.school import School
from phloem.compression.codec import codec
from phloem.seeds import generator
from phloem.server.shrink.network import reproducible, weights_of

EPOCHS, RATE, PENALTY = 12, 0.002, 1e-4
SHRINKAGE = 1e-4
"""What a proximal step takes from every weight: eta lambda."""


def measure(school: School) -> list[Row]:
    """Train on with the penalty, once by its gradient and once by its proximal step."""
    rows: list[Row] = []
    for what in ("no penalty", "gradient", "proximal"):
        network = _trained(school, what)
        weights = weights_of(network)
        values = np.abs(np.concatenate([tensor.ravel() for tensor in weights.values() if tensor.ndim > 1]))
        rows.append(
            {
                "what": what,
                "zeros": 100 * float((values == 0).mean()),
                "below_1e-3": 100 * float((values < 1e-3).mean()),
                "points": school.accuracy(network) - school.accuracy(school.teacher),
                "float32_bytes": sum(tensor.nbytes for tensor in weights.values()),
                "coded_bytes": len(codec("dense | zstd").encode(weights)[0]),
            }
        )
    return rows


def _trained(school: School, how: str) -> torch.nn.Module:
    network = copy.deepcopy(school.teacher)
    matrices = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    rule = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0)
    x, y = torch.tensor(school.train.x), torch.tensor(school.train.y)
    rng = generator(school.seed, "zeros")
    with reproducible(school.seed):
        network.train()
        for _ in range(EPOCHS):
            for rows in np.array_split(rng.permutation(len(y)), len(y) // 32):
                loss = functional.cross_entropy(network(x[rows]), y[rows])
                if how == "gradient":
                    loss = loss + PENALTY * sum(matrix.abs().sum() for matrix in matrices)
                rule.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                rule.step()
                if how == "proximal":
                    with torch.no_grad():
                        for matrix in matrices:
                            matrix.copy_(matrix.sign() * (matrix.abs() - SHRINKAGE).clamp(min=0))
    return network.eval()


def verdict(found: Found) -> str:
    """Say it in figures."""
    rows = found["digits"]
    return (
        f"False as written: {rows['gradient']['zeros']:.2f} % exact zeros by the gradient "
        f"({rows['gradient']['points']:+.2f} pt), {rows['proximal']['zeros']:.0f} % by the proximal step "
        f"({rows['proximal']['points']:+.2f} pt). In float32 both take "
        f"{rows['gradient']['float32_bytes']:,.0f} bytes; coded, {rows['gradient']['coded_bytes']:,.0f} and "
        f"{rows['proximal']['coded_bytes']:,.0f}."
    )


CLAIM = Claim(
    name="zeros",
    says="L1 regularisation prunes: training with it makes unimportant weights zero and the model smaller.",
    as_written="L = L0 + lambda sum |theta_i|, by gradient descent",
    corrected="after each step w <- sign(w) max(|w| - eta lambda, 0); zeros save bytes only when coded",
    measure=measure,
    verdict=verdict,
    data=("digits",),
)


if __name__ == "__main__":
    main(CLAIM)
