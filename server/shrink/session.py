"""ONNX Runtime: what a graph answers, and how long it takes to."""

from __future__ import annotations

import time
from statistics import median

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from phloem.server.shrink.graph import INPUT, OUTPUT

ANSWERED_AT_ONCE = 256
REPEATS = 50
FATAL = 4


def answers(graph: onnx.ModelProto, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the logits `(n, classes)` that ONNX Runtime computes on one thread of this machine."""
    session = _session(graph)
    parts = [
        session.run([OUTPUT], {INPUT: x[start : start + ANSWERED_AT_ONCE]})[0]
        for start in range(0, len(x), ANSWERED_AT_ONCE)
    ]
    return np.concatenate(parts)


def latency_seconds(graph: onnx.ModelProto, x: NDArray[np.float32], repeats: int = REPEATS) -> float:
    """Return the median time for one call with `x`, after as many calls to warm up as a fifth of them."""
    session = _session(graph)
    times = []
    for i in range(repeats + repeats // 5):
        start = time.perf_counter()
        session.run([OUTPUT], {INPUT: x})
        if i >= repeats // 5:
            times.append(time.perf_counter() - start)
    return median(times)


def _session(graph: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = FATAL
    return onnxruntime.InferenceSession(
        graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
