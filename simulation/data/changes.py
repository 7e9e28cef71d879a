"""What a scenario changes in samples: when it is in force, and what it makes of inputs and labels.

A change has levels: 0 is before, the last one is the whole change; all but incremental ones have 0 and 1.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from phloem.federation import Samples
from phloem.simulation.data.orders import Moment, moment
from phloem.steps import Change, Gain, Noise, Rotate, Shift, Swap

Levels = NDArray[np.int64]
BLOCK = 2048  # images are turned so many at a time: the four neighbours of each pixel are as many copies


def top_level(step: Change) -> int:
    """Return the level of the whole change."""
    return max(1, step.steps)


def levels(step: Change, length: int, later: int, rng: np.random.Generator) -> tuple[Levels, list[Moment]]:
    """Return the level at each position of a stream, and where it changes; `later` is the client's delay."""
    at, over, period = (moment(value, length) for value in (step.at, step.over, step.period))
    since = np.arange(length) - (at + later)
    if step.kind == "recurring":
        period = max(1, period)
        turns = np.where(since >= 0, since // period, -1)
        places = np.flatnonzero(np.diff(turns)) + 1
        return (turns % 2 == 0).astype(np.int64), [Moment(int(p), int(p)) for p in places]
    if step.kind == "gradual":
        level = (rng.random(length) < (since + 1) / max(1, over)) & (since >= 0)
    elif step.kind == "incremental":
        level = np.clip(since * step.steps // max(1, over) + 1, 0, step.steps)
    else:
        level = since >= 0
    start, end = at + later, min(at + later + over, length)
    return level.astype(np.int64), [Moment(start, end)] if 0 < start < length else []


def amount(step: Change, seed_draw: float) -> float:
    """Return how much a client's shift is: the step's own, or, with `by=client`, by a draw in 0..1."""
    own = isinstance(step, Shift) and step.by == "client"
    if isinstance(step, Rotate):
        return step.degrees * (2 * seed_draw - 1) if own else step.degrees
    if isinstance(step, Noise):
        return step.sd * seed_draw if own else step.sd
    if isinstance(step, Gain):
        return float(step.factor ** (2 * seed_draw - 1)) if own else step.factor
    return 1.0


def permuted_labels(step: Swap, classes: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return what each label becomes: a cycle through the classes drawn, so that none keeps its own."""
    chosen = rng.permutation(classes)[: max(2, round(step.classes * classes))]
    labels = np.arange(classes)
    labels[chosen] = np.roll(chosen, 1)
    return labels


def alter(
    step: Change, samples: Samples, size: float, spread: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return the inputs after a shift of a size: degrees, deviations of `spread`, or a factor."""
    if isinstance(step, Rotate):
        return turned(samples.x, size)
    if isinstance(step, Noise):
        noise = rng.standard_normal(samples.x.shape, np.float32)
        return samples.x + np.float32(size * spread) * noise
    if isinstance(step, Gain):
        return samples.x * np.float32(size)
    return samples.x


def turned(x: NDArray[np.float32], degrees: float) -> NDArray[np.float32]:
    """Return images `(n, c, h, w)` turned about their middle, anticlockwise, with zeros where nothing was.

    Between pixels, values are interpolated in both directions.
    """
    height, width = x.shape[2:]
    angle = math.radians(degrees)
    rows, columns = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    down, right = rows - (height - 1) / 2, columns - (width - 1) / 2
    source_row = math.cos(angle) * down + math.sin(angle) * right + (height - 1) / 2
    source_column = -math.sin(angle) * down + math.cos(angle) * right + (width - 1) / 2
    first_row, first_column = np.floor(source_row).astype(int), np.floor(source_column).astype(int)
    part_row, part_column = source_row - first_row, source_column - first_column
    out = np.zeros(x.shape, np.float32)
    for step_row, step_column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        row, column = first_row + step_row, first_column + step_column
        weight = np.abs(1 - step_row - part_row) * np.abs(1 - step_column - part_column)
        weight = weight * ((row >= 0) & (row < height) & (column >= 0) & (column < width))
        row, column = np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)
        for start in range(0, len(x), BLOCK):
            out[start : start + BLOCK] += weight.astype(np.float32) * x[start : start + BLOCK, :, row, column]
    return out
