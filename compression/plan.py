"""What a chain of stages will do with a tensor, worked out from its shape alone.

Encoder and decoder make the same plan, so nothing about it travels, and whatever it bounds is bounded
before a byte is read. But for the numbers that stages leave open: they stand before everything else, each in
as many bytes as the largest one takes, and are compared with that before they are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from phloem.compression.payload import most_joined_bytes
from phloem.compression.signal import Spec, Values
from phloem.compression.stage import ByteStage, OpenStage, Stage
from phloem.errors import CorruptUpdate

Numbers = tuple[int, ...]
"""What is left open: in the order of the stages, and for each of them of the signals."""


class Largest:
    """In place of numbers: each is the largest there may be."""


LARGEST = Largest()


@dataclass(frozen=True, slots=True)
class Step:
    """What one stage does with one signal: `parts` replace it, or None: it passes."""

    stage: Stage
    spec: Spec
    parts: tuple[Spec, ...] | None

    @property
    def after(self) -> tuple[Spec, ...]:
        """The signals that are there afterwards."""
        return (self.spec,) if self.parts is None else self.parts


@dataclass(frozen=True, slots=True)
class Plan:
    """For every stage its steps; the signals after the last one; and the most bytes, joined and squeezed.

    `head` is the size of the numbers that were open.
    """

    steps: tuple[tuple[Step, ...], ...]
    outputs: tuple[Spec, ...]
    head: int
    limits: tuple[int, ...]


@lru_cache(maxsize=4096)
def plan(
    stages: tuple[Stage, ...],
    byte_stages: tuple[ByteStage, ...],
    shape: tuple[int, ...],
    numbers: Numbers | None = None,
) -> Plan:
    """Plan for a tensor of this shape; the first limit is of the joined signals, then one a byte stage.

    Without numbers, for whatever they may be: the limits hold for all of them, and the steps are typical.
    """
    planned = _plan(stages, byte_stages, shape, numbers)
    if numbers is None and planned.head:
        largest = _plan(stages, byte_stages, shape, LARGEST)
        limits = tuple(map(max, planned.limits, largest.limits))
        planned = replace(planned, limits=limits)
    return planned


def _plan(
    stages: tuple[Stage, ...],
    byte_stages: tuple[ByteStage, ...],
    shape: tuple[int, ...],
    numbers: Numbers | Largest | None,
) -> Plan:
    specs: tuple[Spec, ...] = (Values(shape),)
    levels: list[tuple[Step, ...]] = []
    head = used = 0
    for stage in stages:
        mosts = open_numbers(stage, specs)
        head += sum(map(number_bytes, mosts))
        if numbers is None:
            steps = steps_of(stage, specs, None)
        elif isinstance(numbers, Largest):
            steps = steps_of(stage, specs, mosts)
        else:
            steps = steps_of(stage, specs, numbers[used : used + len(mosts)])
        used += len(mosts)
        levels.append(steps)
        specs = tuple(part for step in steps for part in step.after)
    limits = [head + most_joined_bytes(specs)]
    for byte_stage in byte_stages:
        limits.append(byte_stage.most_bytes(limits[-1]))
    return Plan(tuple(levels), specs, head, tuple(limits))


@lru_cache(maxsize=4096)
def steps_of(stage: Stage, specs: tuple[Spec, ...], numbers: Numbers | None) -> tuple[Step, ...]:
    """What a stage does with the signals, given the numbers that it leaves open, or without them."""
    left = iter(numbers or ())
    steps: list[Step] = []
    for spec in specs:
        chosen = stage
        if numbers and isinstance(stage, OpenStage) and stage.most(spec) is not None:
            chosen = stage.at(next(left))
        steps.append(Step(chosen, spec, chosen.plan(spec)))
    return tuple(steps)


@lru_cache(maxsize=4096)
def open_numbers(stage: Stage, specs: tuple[Spec, ...]) -> Numbers:
    """The largest of each of the numbers that a stage leaves open."""
    if not isinstance(stage, OpenStage):
        return ()
    mosts = map(stage.most, specs)
    return tuple(most for most in mosts if most is not None)


def number_bytes(most: int) -> int:
    """The size of a number that is at most so large."""
    return -(-most.bit_length() // 8)


def write_numbers(numbers: Numbers, mosts: Sequence[int]) -> bytes:
    """The numbers as they travel."""
    return b"".join(
        number.to_bytes(number_bytes(most), "little") for number, most in zip(numbers, mosts, strict=True)
    )


def read_numbers(stages: tuple[Stage, ...], shape: tuple[int, ...], data: bytes) -> Numbers:
    """Read the numbers at the start of a tensor's bytes.

    Raises:
        CorruptUpdate: too few bytes, or a number is too large.
    """
    specs: tuple[Spec, ...] = (Values(shape),)
    numbers: list[int] = []
    at = 0
    for stage in stages:
        first = len(numbers)
        for most in open_numbers(stage, specs):
            start, at = at, at + number_bytes(most)
            number = int.from_bytes(data[start:at], "little")
            if at > len(data) or number > most:
                raise CorruptUpdate(f"A number should be at most {most}. Found {number}, or too few bytes.")
            numbers.append(number)
        steps = steps_of(stage, specs, tuple(numbers[first:]))
        specs = tuple(part for step in steps for part in step.after)
    return tuple(numbers)
