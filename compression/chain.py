"""A chain of stages, tensor by tensor: the usual body of a codec.

First come the stages that act on signals, each on every signal it has something to do with; then the
signals are serialised, and the byte stages squeeze the bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from phloem.compression.signal import (
    Array,
    Spec,
    Values,
    join,
    joined_bytes,
    most_joined_bytes,
    split,
)
from phloem.compression.stage import ByteStage, Stage, StageBytes, Warm
from phloem.compression.text import render
from phloem.compression.update import Schema, TensorSpec, Update
from phloem.errors import CodecError

_ANY_MATRIX = (1 << 20, 1 << 20)
"""Large enough for every stage to act; a plan allocates nothing."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one stage does with one signal: `parts` replace it, or None: it passes."""

    spec: Spec
    parts: tuple[Spec, ...] | None


@dataclass(frozen=True)
class Chain:
    """Signal stages, then byte stages.

    Raises:
        CodecError: a stage finds nothing to act on, wherever it stands.
    """

    stages: tuple[Stage, ...]
    byte_stages: tuple[ByteStage, ...] = ()

    def __post_init__(self) -> None:
        for stage, steps in zip(self.stages, _plan(self.stages, _ANY_MATRIX), strict=True):
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
            arrays: list[Array] = [np.ascontiguousarray(update[tensor.name]).reshape(tensor.shape)]
            for level, steps in enumerate(_plan(self.stages, tensor.shape)):
                parts: list[Array] = []
                for i, (step, array) in enumerate(zip(steps, arrays, strict=True)):
                    if step.parts is None:
                        parts.append(array)
                        continue
                    key = f"{tensor.name}/{level}.{i}"
                    made, keep = self.stages[level].encode(
                        array, step.spec, warm.get(key), (seed, place, level, i)
                    )
                    parts += made
                    if keep is not None:
                        kept[key] = keep
                arrays = parts
            data = join(self._outputs(tensor.shape), arrays)
            for byte_stage in self.byte_stages:
                data = byte_stage.encode(data)
            payloads.append(data)
        return payloads, kept

    def decode(self, payloads: Sequence[bytes], schema: Schema) -> Update:
        """See `Body.decode`."""
        return self.decode_traced(payloads, schema)[0]

    def decode_traced(
        self, payloads: Sequence[bytes], schema: Schema
    ) -> tuple[Update, tuple[StageBytes, ...]]:
        """See `Body.decode_traced`."""
        update: dict[str, Array] = {}
        sizes = np.zeros(len(self.stages) + len(self.byte_stages), np.int64)
        for tensor, payload in zip(schema.tensors, payloads, strict=True):
            update[tensor.name], trace = self._decode_one(payload, tensor.shape)
            sizes += trace
        names = [render(stage) for stage in (*self.stages, *self.byte_stages)]
        return update, tuple(StageBytes(name, int(size)) for name, size in zip(names, sizes, strict=True))

    def _decode_one(self, data: bytes, shape: tuple[int, ...]) -> tuple[Array, list[int]]:
        """One tensor, and the sizes after each stage on the way to it."""
        outputs = self._outputs(shape)
        limits = [most_joined_bytes(outputs)]
        for byte_stage in self.byte_stages:
            limits.append(byte_stage.most_bytes(limits[-1]))
        sizes: list[int] = []
        for byte_stage, limit in zip(self.byte_stages[::-1], limits[-2::-1], strict=True):
            sizes.append(len(data))
            data = byte_stage.decode(data, limit)
        arrays = split(outputs, data)
        for stage, steps in zip(self.stages[::-1], _plan(self.stages, shape)[::-1], strict=True):
            specs = [part for step in steps for part in _after(step)]
            sizes.append(joined_bytes(specs, arrays))
            left = iter(arrays)
            arrays = [
                next(left)
                if step.parts is None
                else stage.decode([next(left) for _ in step.parts], step.spec)
                for step in steps
            ]
        return arrays[0], sizes[::-1]

    def max_payload_bytes(self, tensor: TensorSpec) -> int:
        """See `Body.max_payload_bytes`."""
        size = most_joined_bytes(self._outputs(tensor.shape))
        for byte_stage in self.byte_stages:
            size = byte_stage.most_bytes(size)
        return size

    def _outputs(self, shape: tuple[int, ...]) -> tuple[Spec, ...]:
        """The signals that leave the last stage."""
        if not self.stages:
            return (Values(shape),)
        return tuple(part for step in _plan(self.stages, shape)[-1] for part in _after(step))

    def __str__(self) -> str:
        """The canonical text."""
        return " | ".join(render(stage) for stage in (*self.stages, *self.byte_stages))


@lru_cache(maxsize=4096)
def _plan(stages: tuple[Stage, ...], shape: tuple[int, ...]) -> tuple[tuple[Step, ...], ...]:
    """For every stage, what it does with each of the signals that reach it."""
    levels: list[tuple[Step, ...]] = []
    specs: tuple[Spec, ...] = (Values(shape),)
    for stage in stages:
        steps = tuple(Step(spec, stage.plan(spec)) for spec in specs)
        levels.append(steps)
        specs = tuple(part for step in steps for part in _after(step))
    return tuple(levels)


def _after(step: Step) -> tuple[Spec, ...]:
    return (step.spec,) if step.parts is None else step.parts
