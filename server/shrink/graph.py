"""A network as an ONNX graph in float32: what runs where there is neither torch nor phloem."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import onnx
import torch
from torch import nn

from phloem.errors import ConfigError
from phloem.server.shrink.network import folded, reproducible

INPUT, OUTPUT = "x", "logits"
TRACED_AT_ONCE = 2  # torch takes a first axis of 1 for a constant


def to_onnx(network: nn.Module, input_shape: tuple[int, ...]) -> onnx.ModelProto:
    """Return the graph that maps `x` `(n, *input_shape)` to `logits` `(n, classes)`, both float32.

    The same network gives the same bytes.

    Raises:
        ConfigError: the network does something that ONNX has no operator for.
    """
    example = torch.zeros(TRACED_AT_ONCE, *input_shape)
    with reproducible(0), _quiet():
        try:
            program = torch.onnx.export(
                folded(network),
                (example,),
                dynamo=True,
                verbose=False,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: torch.export.Dim("n")},),
            )
        except Exception as error:  # whatever a user's own network makes the exporter raise
            raise ConfigError(
                f"The model should be one that torch can export to ONNX. Found {type(error).__name__}: "
                f"{str(error).splitlines()[0]}. Change its layers."
            ) from error
    assert program is not None
    graph = program.model_proto
    _pad_what_hangs_over(graph)
    _forget_where_it_was_made(graph)
    onnx.checker.check_model(graph, full_check=True)
    return graph


def _pad_what_hangs_over(model: onnx.ModelProto) -> None:
    """Say with padding that is not counted what an average pool says with `ceil_mode`.

    Both mean the same, but in 8 bits ONNX Runtime (1.31) divides sums of windows that hang over the edge by
    the whole window: the answers of such a network would be far off.
    """
    shapes = {
        value.name: [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
        for value in onnx.shape_inference.infer_shapes(model).graph.value_info
    }
    for node in model.graph.node:
        if node.op_type != "AveragePool":
            continue
        said = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
        sides = shapes.get(node.input[0], [])[2:]
        if not said.get("ceil_mode") or any(said.get("pads", ())) or not all(sides):
            continue
        windows = said["kernel_shape"]
        strides = said.get("strides", [1] * len(windows))
        over = [
            max(0, -(-(side - window) // stride) * stride + window - side)
            for side, window, stride in zip(sides, windows, strides, strict=True)
        ]
        said |= {"ceil_mode": 0, "count_include_pad": 0, "pads": [0] * len(over) + over}
        del node.attribute[:]
        node.attribute.extend(onnx.helper.make_attribute(name, value) for name, value in said.items())


def _forget_where_it_was_made(model: onnx.ModelProto) -> None:
    """Drop the stack traces that torch leaves in every node, and give the values short names."""
    names: dict[str, str] = {INPUT: INPUT, OUTPUT: OUTPUT}

    def short(name: str) -> str:
        return names.setdefault(name, f"v{len(names) - 2}") if name else name

    graph = model.graph
    for node in graph.node:
        node.name = f"{node.op_type.lower()}{len(names)}"
        node.ClearField("doc_string")
        del node.metadata_props[:]
        node.input[:] = [short(name) for name in node.input]
        node.output[:] = [short(name) for name in node.output]
    for tensor in graph.initializer:
        tensor.name = short(tensor.name)
        tensor.ClearField("doc_string")
        del tensor.metadata_props[:]
    del graph.value_info[:]
    del graph.metadata_props[:], model.metadata_props[:]
    for value in (*graph.input, *graph.output):
        del value.metadata_props[:]
    model.ClearField("doc_string")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what the exporter says of its own future and of packages that nobody needs here."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
