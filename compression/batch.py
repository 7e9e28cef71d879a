"""Many updates of one schema encoded at once, along a first axis: the same bytes as one by one, sooner.

What the stages do is done for all updates together; what is left to do for each is to cut its bytes out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from phloem.compression.chain import Chain
from phloem.compression.plan import Step, open_numbers, plan
from phloem.compression.ranking import MAGNITUDE
from phloem.compression.signal import Array, Bytes, Spec, Values
from phloem.compression.stage import BatchStage, Body, Seed
from phloem.compression.statistics import is_statistic
from phloem.compression.update import Schema, Update
from phloem.errors import ConfigError

ANY = Values((1 << 10, 1 << 10))
"""Where a stage that leaves numbers open shows it."""

Updates = Mapping[str, Array]
"""Tensors by name, each with the senders along its first axis."""


@dataclass(frozen=True, slots=True)
class Batch:
    """`payloads` of each sender, one a tensor, and what the receiver will make of them all."""

    payloads: list[list[bytes]]
    decoded: dict[str, Array]


def batchable(body: Body) -> bool:
    """Tell whether every stage takes many updates at once."""
    return (
        isinstance(body, Chain)
        and body.ranked_by == MAGNITUDE
        and all(isinstance(stage, BatchStage) and not open_numbers(stage, (ANY,)) for stage in body.stages)
    )


def stack(updates: Sequence[Update]) -> dict[str, Array]:
    """Put updates of one schema along a first axis."""
    return {name: np.stack([update[name] for update in updates]) for name in (updates[0] if updates else ())}


def encode(body: Body, updates: Updates, schema: Schema, seeds: Sequence[int]) -> Batch:
    """Encode by a body that is `batchable`; statistics go as they are."""
    assert isinstance(body, Chain)
    payloads: list[list[bytes]] = [[] for _ in seeds]
    decoded: dict[str, Array] = {}
    weights = 0
    for tensor in schema.tensors:
        arrays = np.ascontiguousarray(updates[tensor.name]).reshape(len(seeds), *tensor.shape)
        if is_statistic(tensor):
            packed = [row.tobytes() for row in Values(tensor.shape).pack_many(arrays)]
            decoded[tensor.name] = arrays
        else:
            try:
                packed, decoded[tensor.name] = _encode_one(body, arrays, [(seed, weights) for seed in seeds])
            except ConfigError as error:
                raise ConfigError(f"Tensor {tensor.name!r}: {error}") from None
            weights += 1
        for mine, data in zip(payloads, packed, strict=True):
            mine.append(data)
    return Batch(payloads, decoded)


def _encode_one(body: Chain, arrays: Array, seeds: Sequence[Seed]) -> tuple[list[bytes], Array]:
    """Every sender's payload of one tensor, and what the receiver will make of it."""
    route = plan(body.stages, body.byte_stages, arrays.shape[1:])
    signals = [arrays]
    for level, steps in enumerate(route.steps):
        before, signals = signals, []
        for i, (step, signal) in enumerate(zip(steps, before, strict=True)):
            if step.parts is None:
                signals.append(signal)
            else:
                assert isinstance(step.stage, BatchStage)
                signals += step.stage.encode_many(signal, step.spec, [(*seed, level, i) for seed in seeds])
    parts = [_pack(spec, signal) for spec, signal in zip(route.outputs, signals, strict=True)]
    packed = [row.tobytes() for row in np.concatenate(parts, axis=1)]
    for byte_stage in body.byte_stages:
        packed = [byte_stage.encode(data) for data in packed]
    for steps in route.steps[::-1]:
        left = iter(signals)
        signals = [_back(step, left) for step in steps]
    return packed, signals[0]


def _pack(spec: Spec, signals: Array) -> Array:
    assert not isinstance(spec, Bytes), "only entropy coders give these, and they are not batchable"
    return spec.pack_many(signals)


def _back(step: Step, left: Iterator[Array]) -> Array:
    if step.parts is None:
        return next(left)
    assert isinstance(step.stage, BatchStage)
    return step.stage.decode_many([next(left) for _ in step.parts], step.spec)
