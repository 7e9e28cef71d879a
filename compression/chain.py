"""A chain of stages, tensor by tensor: the usual body of a codec.

First come the stages that act on signals, each on every signal it has something to do with; then the
signals are serialised, and the byte stages squeeze the bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import cast

import numpy as np

from phloem.compression import ranking
from phloem.compression.payload import join, joined_bytes, split
from phloem.compression.plan import Numbers, Plan, open_numbers, plan, read_numbers, steps_of, write_numbers
from phloem.compression.signal import Array, Spec, Values
from phloem.compression.stage import (
    ByteStage,
    OpenStage,
    Seed,
    SelectingStage,
    SharingStage,
    Stage,
    StageBytes,
    Warm,
)
from phloem.compression.text import render
from phloem.compression.update import Schema, TensorSpec, Update
from phloem.errors import CodecError, ConfigError

ANY_MATRIX = (1 << 20, 1 << 20)
"""Large enough for every stage to act; a plan allocates nothing."""


@dataclass(frozen=True, slots=True)
class _Given:
    """What one tensor's stages are given: its name, memory and seed; and its ranks and share, if any."""

    name: str
    warm: Warm
    seed: Seed
    scores: Array | None
    share: tuple[int, Array | None] | None


@dataclass(frozen=True)
class Chain:
    """Signal stages, then byte stages.

    `importance` is of the values that are encoded, for stages that rank by it; it is not part of the text.

    Raises:
        CodecError: a stage finds nothing to act on where it stands.
    """

    stages: tuple[Stage, ...]
    byte_stages: tuple[ByteStage, ...] = ()
    importance: Update | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        for stage in self.stages[1:]:
            if ranked_by(stage) != ranking.MAGNITUDE or _shares(stage):
                raise CodecError(
                    f"`{render(stage)}` should come first: it looks at whole tensors. Found `{self}`."
                )
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
        arrays = [np.ascontiguousarray(update[t.name]).reshape(t.shape) for t in schema.tensors]
        scores = self._scores(arrays, schema)
        first = [warm.get(f"{tensor.name}/0.0") for tensor in schema.tensors]
        shares = self._shares(arrays if scores is None else scores, first)
        for place, tensor in enumerate(schema.tensors):
            given = _Given(
                tensor.name,
                warm,
                (seed, place),
                None if scores is None else scores[place],
                None if shares is None else shares[place],
            )
            try:
                payload, keep = self._encode_one(arrays[place], given)
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

    @cached_property
    def ranked_by(self) -> str:
        """What the first stage ranks by, as `ranking` names it: all but magnitude has to be given."""
        return ranked_by(self.stages[0]) if self.stages else ranking.MAGNITUDE

    def _scores(self, arrays: Sequence[Array], schema: Schema) -> list[Array] | None:
        """The importance of each tensor, where the first stage ranks by it."""
        if self.ranked_by == ranking.MAGNITUDE:
            return None
        scores = ranking.scores(self.importance, schema)
        return [scores[tensor.name] for tensor in schema.tensors]

    def _shares(
        self, scores: Sequence[Array], warm: Sequence[Array | None]
    ) -> list[tuple[int, Array | None]] | None:
        """The first stage's number for each tensor, and what goes to `warm`, where they compete."""
        first = self.stages[0] if self.stages else None
        return first.shares(scores, warm) if _shares(first) and isinstance(first, SharingStage) else None

    def _encode_one(self, array: Array, given: _Given) -> tuple[bytes, Warm]:
        """One tensor's payload, and what its stages want to see again."""
        kept: dict[str, Array] = {}
        head = b""
        arrays, specs = [array], cast("tuple[Spec, ...]", (Values(array.shape),))
        for level, stage in enumerate(self.stages):
            warm = [given.warm.get(f"{given.name}/{level}.{i}") for i in range(len(specs))]
            numbers = self._numbers(stage, arrays, specs, warm, given, level)
            head += write_numbers(numbers, open_numbers(stage, specs))
            before, arrays = arrays, []
            steps = steps_of(stage, specs, numbers)
            for i, (step, signal) in enumerate(zip(steps, before, strict=True)):
                if step.parts is None:
                    arrays.append(signal)
                    continue
                if given.scores is not None and level == 0 and isinstance(step.stage, SelectingStage):
                    parts, keep = step.stage.select(signal, given.scores), warm[i]
                else:
                    parts, keep = step.stage.encode(signal, step.spec, warm[i], (*given.seed, level, i))
                arrays += parts
                if keep is not None:
                    kept[f"{given.name}/{level}.{i}"] = keep
            specs = tuple(part for step in steps for part in step.after)
        data = head + join(specs, arrays)
        for byte_stage in self.byte_stages:
            data = byte_stage.encode(data)
        return data, kept

    def _numbers(
        self,
        stage: Stage,
        arrays: Sequence[Array],
        specs: tuple[Spec, ...],
        warm: list[Array | None],
        given: _Given,
        level: int,
    ) -> Numbers:
        """What a stage leaves open, found for these signals; what it found beside that goes to `warm`."""
        if not open_numbers(stage, specs):
            return ()
        assert isinstance(stage, OpenStage)
        numbers: list[int] = []
        for i, (array, spec) in enumerate(zip(arrays, specs, strict=True)):
            if stage.most(spec) is None:
                continue
            if level == 0 and given.share is not None:
                number, warm[i] = given.share
            else:
                number, warm[i] = stage.fit(array, spec, warm[i], (*given.seed, level, i))
            numbers.append(number)
        return tuple(numbers)

    def _decode_one(self, data: bytes, shape: tuple[int, ...]) -> tuple[Array, list[int]]:
        """One tensor, and its size after each stage."""
        route = self._plan(shape)
        sizes: list[int] = []
        for byte_stage, limit in zip(self.byte_stages[::-1], route.limits[-2::-1], strict=True):
            sizes.append(len(data))
            data = byte_stage.decode(data, limit)
        if route.head:
            numbers = read_numbers(self.stages, shape, data)
            route = plan(self.stages, self.byte_stages, shape, numbers)
            data = data[route.head :]
        arrays = split(route.outputs, data)
        for steps in route.steps[::-1]:
            sizes.append(route.head + joined_bytes([part for step in steps for part in step.after], arrays))
            left = iter(arrays)
            arrays = [
                next(left)
                if step.parts is None
                else step.stage.decode([next(left) for _ in step.parts], step.spec)
                for step in steps
            ]
        return np.asarray(arrays[0]), sizes[::-1]  # NumPy likes to make scalars of arrays without axes


@lru_cache(maxsize=256)  # whether an object keeps a protocol is slow to find out
def ranked_by(stage: Stage) -> str:
    """What a stage ranks by; magnitude, if it ranks at all."""
    return stage.by if isinstance(stage, SelectingStage) else ranking.MAGNITUDE


@lru_cache(maxsize=256)
def _shares(stage: Stage | None) -> bool:
    return isinstance(stage, SharingStage) and stage.scope == "update"
