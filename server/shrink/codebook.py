"""A graph whose weights are few values: a layer holds a table and, for every weight, its place in it.

The places are 4-bit integers where a table has at most 16 values, else 8-bit ones, and packed so in the
file. ONNX Runtime looks the weights up once, when it opens the file: what is predicted, and how fast, is as
before.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, version_converter

OPSET = 21
"""The first with 4-bit integers."""

MOST_VALUES = 256
FEWEST_WEIGHTS = 64
"""Below this a table costs more than it saves."""


def with_codebooks(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with a table for each tensor of few values; it predicts exactly the same."""
    small = version_converter.convert_version(model, OPSET)
    small.ir_version = max(small.ir_version, 10)  # the first with 4-bit integers
    looked_up: list[onnx.NodeProto] = []
    kept: list[onnx.TensorProto] = []
    for tensor in small.graph.initializer:
        values = numpy_helper.to_array(tensor)
        book = np.unique(values)
        few = values.dtype == np.float32 and values.size >= FEWEST_WEIGHTS and len(book) <= MOST_VALUES
        if not few or book.nbytes >= values.nbytes / 2:
            kept.append(tensor)
            continue
        name = tensor.name
        packed = TensorProto.UINT4 if len(book) <= 16 else TensorProto.UINT8
        places = np.searchsorted(book, values)
        kept += [
            numpy_helper.from_array(book, f"{name}_book"),
            helper.make_tensor(f"{name}_at", packed, values.shape, places.ravel().tolist()),
        ]
        looked_up += [
            helper.make_node("Cast", [f"{name}_at"], [f"{name}_place"], to=TensorProto.INT32),
            helper.make_node("Gather", [f"{name}_book", f"{name}_place"], [name]),
        ]
    nodes = [*looked_up, *small.graph.node]
    del small.graph.initializer[:], small.graph.node[:], small.graph.value_info[:]
    small.graph.initializer.extend(kept)
    small.graph.node.extend(nodes)
    onnx.checker.check_model(small, full_check=True)
    return small
