"""What a chain of stages will do with a tensor, worked out from its shape alone.

Encoder and decoder make the same plan, so nothing about it travels, and whatever it bounds is bounded
before a byte is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from phloem.compression.payload import most_joined_bytes
from phloem.compression.signal import Spec, Values
from phloem.compression.stage import ByteStage, Stage


@dataclass(frozen=True, slots=True)
class Step:
    """What one stage does with one signal: `parts` replace it, or None: it passes."""

    spec: Spec
    parts: tuple[Spec, ...] | None

    @property
    def after(self) -> tuple[Spec, ...]:
        """The signals that are there afterwards."""
        return (self.spec,) if self.parts is None else self.parts


@dataclass(frozen=True, slots=True)
class Plan:
    """For every stage its steps; the signals after the last one; and the most bytes, joined and squeezed."""

    steps: tuple[tuple[Step, ...], ...]
    outputs: tuple[Spec, ...]
    limits: tuple[int, ...]


@lru_cache(maxsize=4096)
def plan(stages: tuple[Stage, ...], byte_stages: tuple[ByteStage, ...], shape: tuple[int, ...]) -> Plan:
    """Plan for a tensor of this shape; the first limit is of the joined signals, then one a byte stage."""
    specs: tuple[Spec, ...] = (Values(shape),)
    levels: list[tuple[Step, ...]] = []
    for stage in stages:
        steps = tuple(Step(spec, stage.plan(spec)) for spec in specs)
        specs = tuple(part for step in steps for part in step.after)
        levels.append(steps)
    limits = [most_joined_bytes(specs)]
    for byte_stage in byte_stages:
        limits.append(byte_stage.most_bytes(limits[-1]))
    return Plan(tuple(levels), specs, tuple(limits))
