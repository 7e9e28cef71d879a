"""Running statistics travel exactly, whatever the codec does to weights.

The mean and variance that a normalisation layer keeps are not weights: they are measured anew every
round, so what a lossy codec leaves out must not be added again later, and a variance that comes out
below zero makes a network's output NaN. They are few, and go as plain float32.
"""

from __future__ import annotations

from collections.abc import Sequence

from phloem.compression.signal import Array, Values
from phloem.compression.stage import Body, BudgetedBody, StageBytes, Warm
from phloem.compression.update import FLOAT_BYTES, Schema, TensorSpec, Update
from phloem.errors import CorruptUpdate

NAMES = frozenset({"running_mean", "running_var", "moving_mean", "moving_variance", "moving_var"})
"""How PyTorch, Keras and JAX libraries call them; the last part of a tensor's name counts."""


def is_statistic(tensor: TensorSpec) -> bool:
    """Tell whether a tensor is a running statistic, by its name."""
    return tensor.name.replace("/", ".").rsplit(".", 1)[-1] in NAMES


def encode(body: Body, update: Update, schema: Schema, warm: Warm, seed: int) -> tuple[list[bytes], Warm]:
    """Encode weights by `body`, statistics as they are; one payload a tensor, in the schema's order.

    Raises:
        ConfigError: a body that has a budget has nothing left beside the statistics.
    """
    weights = _weights(schema)
    if weights is schema:
        return body.encode(update, schema, warm, seed)
    if isinstance(body, BudgetedBody):
        body = body.beside([FLOAT_BYTES * t.size for t in schema.tensors if is_statistic(t)])
    coded, warm = body.encode({t.name: update[t.name] for t in weights.tensors}, weights, warm, seed)
    rest = iter(coded)
    payloads = [
        Values(t.shape).pack(update[t.name]) if is_statistic(t) else next(rest) for t in schema.tensors
    ]
    return payloads, warm


def decode_traced(
    body: Body, payloads: Sequence[bytes], schema: Schema
) -> tuple[Update, tuple[StageBytes, ...]]:
    """Invert `encode`; the sizes after each stage include the statistics.

    Raises:
        CorruptUpdate: no encoder gives these payloads.
    """
    weights = _weights(schema)
    if weights is schema:
        return body.decode_traced(payloads, schema)
    coded = [p for t, p in zip(schema.tensors, payloads, strict=True) if not is_statistic(t)]
    update, stages = body.decode_traced(coded, weights)
    exact = schema.dense_bytes - weights.dense_bytes
    both = {
        t.name: _read(t, p) if is_statistic(t) else update[t.name]
        for t, p in zip(schema.tensors, payloads, strict=True)
    }
    return both, tuple(StageBytes(stage.stage, stage.bytes + exact) for stage in stages)


def max_payload_bytes(body: Body, tensor: TensorSpec) -> int:
    """Return the most that `encode` gives for this tensor."""
    return Values(tensor.shape).most_bytes if is_statistic(tensor) else body.max_payload_bytes(tensor)


def _read(tensor: TensorSpec, payload: bytes) -> Array:
    spec = Values(tensor.shape)
    if len(payload) != spec.most_bytes:
        raise CorruptUpdate(f"{tensor.name!r} should have {spec.most_bytes} bytes. Found {len(payload)}.")
    return spec.unpack(payload)


def _weights(schema: Schema) -> Schema:
    weights = tuple(t for t in schema.tensors if not is_statistic(t))
    return schema if len(weights) == len(schema.tensors) else Schema(weights)
