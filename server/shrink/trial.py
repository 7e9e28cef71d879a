"""A compression trial: a recipe carried out, shipped through its file, and judged on validation samples.

A trial removes channels, gives lessons with rounded weights, packs, unpacks and predicts with what came
out: its size and its accuracy are of the very bytes that would be shipped.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from phloem.compression.update import Schema
from phloem.references import load_reference
from phloem.seeds import derive
from phloem.server.shrink.channels import pruned
from phloem.server.shrink.few_levels import round_weights, settle
from phloem.server.shrink.lessons import Lesson, Questions, teach
from phloem.server.shrink.network import LOAD, folded, predict, weights_of, weighty
from phloem.server.shrink.quality import Quality, quality
from phloem.server.shrink.store import pack, unpack
from phloem.sources import Samples

OTHERS = "bf16 | zstd"
"""For tensors that are no layer's weight: few, and an error in one moves a whole channel."""


@dataclass(frozen=True)
class Recipe:
    """How to make a small model: bits of each layer's weights, and the share of channels each layer loses."""

    bits: Mapping[str, int]
    channels: Mapping[str, float]

    def codecs(self, names: Iterable[str]) -> dict[str, str]:
        """Return the codec of each tensor."""
        by_weight = {
            f"{layer}.weight": f"linear:{bits},per=channel | rans" for layer, bits in self.bits.items()
        }
        return {name: by_weight.get(name, OTHERS) for name in names}


@dataclass(frozen=True)
class Trial:
    """A recipe carried out: the file, the network that a device makes of it, and its validation scores."""

    recipe: Recipe
    data: bytes
    network: nn.Module
    validation: Quality


@dataclass(frozen=True)
class Task:
    """What is shrunk, what it is taught on, and what it is judged by."""

    teacher: nn.Module
    questions: Questions
    inputs: NDArray[np.float32]
    validation: Samples
    lesson: Lesson
    seed: int

    @property
    def layers(self) -> list[str]:
        """The layers with weights, in order; the last makes the classes and keeps its channels."""
        return list(weighty(self.teacher))

    def carry_out(self, recipe: Recipe) -> Trial:
        """Make the model, ship it through its file, and judge what arrives."""
        small = pruned(self.teacher, recipe.channels, self.inputs, seed=self.seed)
        small = folded(small)
        round_weights(small, recipe.bits)
        teach(small, self.questions, self.lesson, seed=derive(self.seed, "search"))
        settle(small)
        weights = weights_of(small)
        codecs = recipe.codecs(weights)
        data = pack(weights, codecs)
        arrived = copy.deepcopy(small)
        with torch.no_grad():
            load_reference(LOAD)(arrived, unpack(data, Schema.of(weights), codecs))
        scores = quality(predict(arrived, self.validation.x), self.validation.y)
        return Trial(recipe, data, arrived, scores)


def uniform(task: Task, bits: int, channels: float) -> Recipe:
    """Return the recipe with one figure for all layers: what is chosen by hand."""
    return Recipe(dict.fromkeys(task.layers, bits), dict.fromkeys(task.layers[:-1], channels))


def front(trials: list[Trial]) -> list[Trial]:
    """Return the trials that no other beats in both bytes and accuracy, the smallest first."""
    best: list[Trial] = []
    for trial in sorted(trials, key=lambda one: (len(one.data), -one.validation.accuracy)):
        if not best or trial.validation.accuracy > best[-1].validation.accuracy:
            best.append(trial)
    return best


def smallest(trials: list[Trial], accuracy: float) -> Trial | None:
    """Return the smallest trial of at least this validation accuracy, or None where there is none."""
    enough = [trial for trial in trials if trial.validation.accuracy >= accuracy]
    return min(enough, key=lambda one: len(one.data), default=None)
