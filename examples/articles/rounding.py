"""Claim: a smaller number format changes the size and not the loss; and one article's code for it."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import copy

import numpy as np
import torch

from examples.articles.claim import Claim, Found, Row, main
from examples.articles.school import School
from phloem.compression.codec import codec
from phloem.compression.update import Schema, Update
from phloem.references import load_reference
from phloem.server.shrink.network import LOAD, folded, predict, weights_of
from phloem.server.shrink.quality import quality

BITS = (8, 6, 5, 4, 3, 2)
KINDS = {
    "linear": "linear:{bits},per=channel | rans",
    "k-means": "kmeans:{levels} | rans",
    "logarithmic": "log:{bits} | rans",
}


def measure(school: School) -> list[Row]:
    """Round the trained weights and do nothing else; bytes are those of the coded model."""
    network, test = folded(school.teacher), school.federation.test
    weights = weights_of(network)
    matrices = {name: tensor for name, tensor in weights.items() if tensor.ndim > 1}
    before = quality(predict(network, test.x), test.y)

    def row(what: str, changed: Update, size: int) -> Row:
        rounded = copy.deepcopy(network)
        with torch.no_grad():
            load_reference(LOAD)(rounded, {**weights, **changed})
        after = quality(predict(rounded, test.x), test.y)
        return {
            "what": what,
            "points": 100 * (after.accuracy - before.accuracy),
            "loss": after.loss,
            "loss_before": before.loss,
            "smaller": sum(tensor.nbytes for tensor in matrices.values()) / size,
        }

    rows: list[Row] = []
    for kind, text in KINDS.items():
        for bits in BITS:
            if kind == "logarithmic" and bits == 2:
                continue  # a sign, a zero and no exponent: that is the ternary codec
            coder = codec(text.format(bits=bits, levels=2**bits))
            blob = coder.encode(matrices)[0]
            rows.append(row(f"{kind} {bits}", coder.decode(blob, Schema.of(matrices)), len(blob)))
    literal = {name: np.round(tensor / 128) * np.float32(128) for name, tensor in matrices.items()}
    rows.append(row("as printed", literal, sum(tensor.size for tensor in literal.values())))
    return rows


def verdict(found: Found) -> str:
    """Say it in figures."""
    parts = []
    for data, rows in found.items():
        figures = ", ".join(
            f"{kind} "
            + "/".join(
                f"{rows[f'{kind} {bits}']['points']:+.1f}" for bits in BITS if f"{kind} {bits}" in rows
            )
            for kind in KINDS
        )
        parts.append(
            f"{data} (points at {'/'.join(map(str, BITS))} bits, no lessons): {figures}; the printed code "
            f"{rows['as printed']['points']:+.0f}"
        )
    return "False: the loss changes, little at 8 bits and ruinously at 2. " + "; ".join(parts) + "."


CLAIM = Claim(
    name="rounding",
    says="Quantisation leaves the loss identical; the code for it rounds w / 2^7 and multiplies back.",
    as_written="L' = L / p^b, d' = d / p^b; round(w / 128) 128",
    corrected="dL ~ 1/2 D^T H D for D = w' - w; the number of weights stays, bytes = d b / 8 + scales",
    measure=measure,
    verdict=verdict,
)


if __name__ == "__main__":
    main(CLAIM)
