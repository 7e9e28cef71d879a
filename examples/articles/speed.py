"""Claim: compression speeds inference up."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import copy
from statistics import median

import torch

from examples.articles.claim import Claim, Found, Row, main
from examples.articles.school import School
from phloem.server.shrink.channels import pruned
from phloem.server.shrink.graph import to_onnx
from phloem.server.shrink.int8 import quantise
from phloem.server.shrink.lowrank import factorised
from phloem.server.shrink.network import folded, parameters, weighty
from phloem.server.shrink.session import latency_seconds
from phloem.server.shrink.students import fitting

TURNS = 7


def measure(school: School) -> list[Row]:
    """Time each in turn, several times over; untaught, as lessons do not change how long it takes."""
    federation, network = school.federation, folded(school.teacher)
    sparse = copy.deepcopy(network)
    for layer in weighty(sparse).values():
        weight = layer.get_parameter("weight").data
        weight[weight.abs() < torch.quantile(weight.abs(), 0.9)] = 0
    small = next(
        one
        for one in fitting(school.shape, federation.classes, parameters(network) // 10)
        if one.family == "conv"
    )
    networks = {
        "float": network,
        "90 % zeros": sparse,
        "30 % of the channels": pruned(network, 0.3, federation.proxy),
        "factors, 50 %": factorised(network, 0.5),
        "student, 1/10": small.build(school.shape, federation.classes, seed=1),
    }
    graphs = {what: to_onnx(one, school.shape) for what, one in networks.items()}
    graphs["int8"] = quantise(graphs["float"], federation.proxy, federation.validation.x)[0].graph
    times: dict[str, list[tuple[float, float]]] = {what: [] for what in graphs}
    for _ in range(TURNS):
        for what, graph in graphs.items():
            times[what].append(
                (
                    latency_seconds(graph, federation.test.x[:1], 30),
                    latency_seconds(graph, federation.test.x[:64], 10),
                )
            )
    one, many = (median(pair[i] for pair in times["float"]) for i in range(2))
    rows: list[Row] = [
        {
            "what": what,
            "batch_1_us": 1e6 * median(pair[0] for pair in pairs),
            "batch_1_faster": one / median(pair[0] for pair in pairs),
            "batch_64_faster": many / median(pair[1] for pair in pairs),
            "bytes": graphs[what].ByteSize(),
        }
        for what, pairs in times.items()
    ]
    return rows


def verdict(found: Found) -> str:
    """Say it in figures."""
    parts = [
        f"{data}: "
        + ", ".join(
            f"{what} {row['batch_1_faster']:.1f}x ({row['batch_64_faster']:.1f}x at batch 64)"
            for what, row in rows.items()
            if what != "float"
        )
        for data, rows in found.items()
    ]
    return "Depends on what is removed: zeros among weights speed nothing up. " + "; ".join(parts) + "."


CLAIM = Claim(
    name="speed",
    says="Compression makes inference faster.",
    as_written="fewer parameters, hence fewer operations",
    corrected="time follows operations that the hardware skips: whole channels and layers, or 8-bit kernels",
    measure=measure,
    verdict=verdict,
    note="Its factors are of all layers: measured before the output layer was left out of them.",
)


if __name__ == "__main__":
    main(CLAIM)
