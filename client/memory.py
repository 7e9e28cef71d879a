"""What a client remembers for learning, as a value: earlier samples, weights that mattered, recent errors.

errors ─> alarm? ─> forget what came before the change, learn faster ─> learn ─> remember
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from phloem.client.drift import Errors, error_bytes, watch
from phloem.client.fisher import accumulate
from phloem.client.replay import Buffer, admit, buffer_of, forget_before, recalled
from phloem.compression.update import Update
from phloem.config import ClientConfig
from phloem.learning import NOTHING, Model, Past, Scores
from phloem.sources import Samples


@dataclass(frozen=True, eq=False)
class Memory:
    """What a client keeps between two rounds so as to learn better."""

    buffer: Buffer | None = None
    fisher: Update | None = None
    """The diagonal of the Fisher information, a fading sum over rounds."""
    errors: Errors = b""
    """What the drift detector has seen since its last alarm."""
    hasty: int = 0
    """For how many more rounds the learning rate is raised."""
    spread: NDArray[np.float32] | None = None
    """How far each input is usually missed, of a model that finds anomalies."""


NO_MEMORY = Memory()


def remembers(config: ClientConfig) -> bool:
    """Tell whether a client keeps anything so as to learn better, or has a cap on what it keeps."""
    needs = (config.replay, config.retain, config.detector)
    return bool(config.memory_bytes) or any(need != "none" for need in needs)


def notice(memory: Memory, scores: Scores, after: int, config: ClientConfig) -> tuple[Memory, int]:
    """Show the detector the errors on samples up to place `after`, react to alarms, and count them."""
    if config.detector == "none" or scores.errors is None:
        return memory, 0
    seen = watch(memory.errors, error_bytes(scores.errors, scores=scores.predicted is None), config)
    memory = replace(memory, errors=seen.history)
    if not seen.alarms:
        return memory, 0
    if "rate" in config.on_drift:
        memory = replace(memory, hasty=config.drift_rounds)
    if "reset" in config.on_drift and memory.buffer is not None:
        memory = replace(memory, buffer=forget_before(memory.buffer, max(0, after - seen.recent)))
    return memory, seen.alarms


def past_of(memory: Memory) -> Past:
    """Return what the learner is to know of earlier samples."""
    if memory.buffer is None and memory.fisher is None:
        return NOTHING
    samples, logits = (None, None) if memory.buffer is None else recalled(memory.buffer)
    return Past(samples, logits, memory.fisher)


def pace(memory: Memory, config: ClientConfig) -> ClientConfig:
    """Return the settings to learn with: those given, or faster ones for some rounds after an alarm."""
    if not memory.hasty:
        return config
    return config.model_copy(update={"learning_rate": config.learning_rate * config.drift_rate})


@dataclass(frozen=True, eq=False)
class Lesson:
    """Samples that were learned; the first stood at `start` in the stream, and `seed` draws what is kept."""

    samples: Samples
    start: int
    seed: int


def remember(memory: Memory, lesson: Lesson, learner: Model, weights: Update, config: ClientConfig) -> Memory:
    """Return the memory with the samples that led to `weights`; it may be larger than allowed now."""
    memory = replace(memory, hasty=max(0, memory.hasty - 1))
    samples = lesson.samples
    if len(samples) and config.replay != "none":
        logits = learner.logits(weights, samples.x) if config.replay == "der" else None
        new = buffer_of(samples, lesson.start, config.replay_inputs, logits)
        memory = replace(memory, buffer=admit(memory.buffer, new, lesson.seed))
    if len(samples) and config.retain == "ewc":
        memory = replace(memory, fisher=accumulate(memory.fisher, learner.fisher(weights, samples)))
    return memory
