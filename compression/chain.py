"""A chain of stages, tensor by tensor: the usual body of a codec.

First come the stages that act on signals, each on every signal it has something to do with; then the
signals are serialised, and the byte stages squeeze the bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from phloem.compression.payload import join, joined_bytes, split
from phloem.compression.plan import Plan, plan
from phloem.compression.signal import Array
from phloem.compression.stage import ByteStage, Seed, Stage, StageBytes, Warm
from phloem.compression.text import render
from phloem.compression.update import Schema, TensorSpec, Update
from phloem.errors import CodecError, ConfigError

ANY_MATRIX = (1 << 20, 1 << 20)
"""Large enough for every stage to act; a plan allocates nothing."""


@dataclass(frozen=True)
class Chain:
    """Signal stages, then byte stages.

    Raises:
        CodecError: a stage finds nothing to act on where it stands.
    """

    stages: tuple[Stage, ...]
    byte_stages: tuple[ByteStage, ...] = ()

    def __post_init__(self) -> None:
        for stage, steps in zip(self.stages, self._plan(ANY_MATRIX).steps, strict=True):
            if all(step.parts is None for step in steps):
                found = " and ".join(dict.fromkeys(type(step.spec).__name__.lower() for step in steps))
                raise CodecError(
                    f"`{render(stage)}` should come where it has something to act on. "
                    f"Found only {found} there, in `{self}`. Move it forward or leave it out."
                )

    def encode(self, update: Update, schema: Schema, warm: Warm, seed: int) -> tuple[list[bytes], Warm]:
        """See `Body.encode`."""
        payloads: list[bytes] = []
        kept: dict[str, Array] = {}
        for place, tensor in enumerate(schema.tensors):
            array = np.ascontiguousarray(update[tensor.name]).reshape(tensor.shape)
            try:
                payload, keep = self._encode_one(array, tensor.name, warm, (seed, place))
            except ConfigError as error:
                raise ConfigError(f"Tensor {tensor.name!r}: {error}") from None
            payloads.append(payload)
            kept |= keep
        return payloads, kept

    def decode(self, payloads: Sequence[bytes], schema: Schema) -> Update:
        """See `Body.decode`."""
        return self.decode_traced(payloads, schema)[0]

    def decode_traced(
        self, payloads: Sequence[bytes], schema: Schema
    ) -> tuple[Update, tuple[StageBytes, ...]]:
        """See `Body.decode_traced`."""
        update: dict[str, Array] = {}
        traces: list[list[int]] = []
        for tensor, payload in zip(schema.tensors, payloads, strict=True):
            update[tensor.name], trace = self._decode_one(payload, tensor.shape)
            traces.append(trace)
        sizes = [sum(stage) for stage in zip(*traces, strict=True)] or [0] * len(self._names)
        return update, tuple(map(StageBytes, self._names, sizes))

    def max_payload_bytes(self, tensor: TensorSpec) -> int:
        """See `Body.max_payload_bytes`."""
        return self._plan(tensor.shape).limits[-1]

    def __str__(self) -> str:
        """The canonical text."""
        return " | ".join(self._names)

    @cached_property
    def _names(self) -> list[str]:
        return [render(stage) for stage in (*self.stages, *self.byte_stages)]

    def _plan(self, shape: tuple[int, ...]) -> Plan:
        return plan(self.stages, self.byte_stages, shape)

    def _encode_one(self, array: Array, name: str, warm: Warm, seed: Seed) -> tuple[bytes, Warm]:
        """One tensor's payload, and what its stages want to see again."""
        route = self._plan(array.shape)
        kept: dict[str, Array] = {}
        arrays = [array]
        for level, (stage, steps) in enumerate(zip(self.stages, route.steps, strict=True)):
            before, arrays = arrays, []
            for i, (step, signal) in enumerate(zip(steps, before, strict=True)):
                if step.parts is None:
                    arrays.append(signal)
                    continue
                key = f"{name}/{level}.{i}"
                parts, keep = stage.encode(signal, step.spec, warm.get(key), (*seed, level, i))
                arrays += parts
                if keep is not None:
                    kept[key] = keep
        data = join(route.outputs, arrays)
        for byte_stage in self.byte_stages:
            data = byte_stage.encode(data)
        return data, kept

    def _decode_one(self, data: bytes, shape: tuple[int, ...]) -> tuple[Array, list[int]]:
        """One tensor, and its size after each stage."""
        route = self._plan(shape)
        sizes: list[int] = []
        for byte_stage, limit in zip(self.byte_stages[::-1], route.limits[-2::-1], strict=True):
            sizes.append(len(data))
            data = byte_stage.decode(data, limit)
        arrays = split(route.outputs, data)
        for stage, steps in zip(self.stages[::-1], route.steps[::-1], strict=True):
            sizes.append(joined_bytes([part for step in steps for part in step.after], arrays))
            left = iter(arrays)
            arrays = [
                next(left)
                if step.parts is None
                else stage.decode([next(left) for _ in step.parts], step.spec)
                for step in steps
            ]
        return np.asarray(arrays[0]), sizes[::-1]  # NumPy likes to make scalars of arrays without axes
