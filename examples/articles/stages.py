"""Claim: the sizes of pruning, quantisation and sharing add up."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from examples.articles.claim import Claim, Found, Row, main
from examples.articles.school import School
from phloem.compression.codec import codec
from phloem.server.shrink.network import folded, weights_of

ALONE = {"pruning": "topk:0.3 | rans", "quantisation": "linear:4 | rans", "sharing": "kmeans:16 | rans"}
TOGETHER = "topk:0.3 | kmeans:16 | rans"


def measure(school: School) -> list[Row]:
    """Code the teacher's matrices by each alone and by one after the other; every size is of real bytes."""
    matrices = {
        name: tensor for name, tensor in weights_of(folded(school.teacher)).items() if tensor.ndim > 1
    }
    dense = sum(tensor.nbytes for tensor in matrices.values())
    sizes = {what: len(codec(text).encode(matrices)[0]) for what, text in ALONE.items()}
    together = len(codec(TOGETHER).encode(matrices)[0])
    product = dense * float(np.prod([size / dense for size in (sizes["pruning"], sizes["sharing"])]))
    rows: list[Row] = [
        {"what": what, "bytes": size, "of_dense": size / dense} for what, size in sizes.items()
    ]
    rows += [
        {"what": "sum, as written", "bytes": sum(sizes.values()), "of_dense": sum(sizes.values()) / dense},
        {"what": "product of pruning and sharing", "bytes": product, "of_dense": product / dense},
        {"what": "one after the other", "bytes": together, "of_dense": together / dense},
    ]
    return rows


def verdict(found: Found) -> str:
    """Say it in figures."""
    parts = [
        f"{data}: pruning then sharing takes {rows['one after the other']['of_dense']:.1%} of float32; "
        f"the sum says {rows['sum, as written']['of_dense']:.1%}, the product "
        f"{rows['product of pruning and sharing']['of_dense']:.1%}"
        for data, rows in found.items()
    ]
    return (
        "False: stages follow each other, so sizes nearly multiply, but for the positions. "
        + "; ".join(parts)
        + "."
    )


CLAIM = Claim(
    name="stages",
    says="The size after all techniques is the sum of their sizes.",
    as_written="d' = d1 + d2 + d3",
    corrected="bytes = sum over layers of nnz b / 8 + positions + codebooks and scales",
    measure=measure,
    verdict=verdict,
    data=("digits",),
)


if __name__ == "__main__":
    main(CLAIM)
