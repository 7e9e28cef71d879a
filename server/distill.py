"""Ensemble distillation: the clients' models teach the new global model on unlabelled proxy samples.

The teacher is the mean of the clients' softened predictions, each class weighted by how many of its
samples a client saw this round, and by how certain it is: who never saw a class does not vote on it. The
student starts from the average and minimises T^2 KL(teacher || student) at temperature T (Hinton et
al. 2015, arXiv 1503.02531; ensemble fusion: Lin et al. 2020, FedDF, arXiv 2006.07242). A validation
slice decides whether the outcome is kept, so a bad proxy cannot make the global model worse on it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from phloem.compression.update import Update
from phloem.config import DistillConfig
from phloem.learning import Model, Scores
from phloem.sources import Federation, Samples

NOISE_PER_SAMPLE = 8
"""Inputs of noise for each validation sample, where there is no proxy."""

SMOOTHING = 0.1
"""Samples a class that a client did not see counts for, so that a class nobody saw is voted on by all."""


@dataclass
class Teacher:
    """The clients' summed votes on the proxy: memory O(proxy x classes), whatever the number of clients."""

    model: Model
    proxy: NDArray[np.float32]
    temperature: float
    certainty: bool = False
    """Whether a vote also counts by how certain it is: 1 - entropy / log(classes), a number a sample."""
    votes: NDArray[np.float64] | None = field(default=None, init=False)
    weights: NDArray[np.float64] | None = field(default=None, init=False)

    def hear(
        self,
        client_model: Update,
        class_counts: NDArray[np.int64] | NDArray[np.float64],
        of: Model | None = None,
    ) -> None:
        """Add a client's predictions; `class_counts` has one count a class.

        `of` is the client's own network where its weights are of a part of the model only.

        A model that overflows on the proxy has no vote: its NaN would silence all the others.
        """
        logits = (of or self.model).logits(client_model, self.proxy)
        if not np.isfinite(logits).all():
            return
        softened = softmax(logits, self.temperature)
        weight = np.asarray(class_counts, np.float64) + SMOOTHING
        if self.certainty:
            weight = weight * certainty_of(softmax(logits, 1.0))[:, None]
        if self.votes is None or self.weights is None:
            self.votes, self.weights = softened * weight, weight
        else:
            self.votes, self.weights = self.votes + softened * weight, self.weights + weight

    def hear_again(self, global_model: Update, share: float) -> None:
        """Add what the last global model says of every class alike, with `share` of all votes so far.

        It knows what clients saw in earlier rounds, and those of this round may not.
        """
        if self.weights is None or share == 0:
            return
        total = float(self.weights.sum() / (1 if self.weights.ndim == 1 else len(self.weights)))
        counts = np.full(self.model.classes, share * total / self.model.classes)
        self.hear(global_model, counts)

    def opinion(self) -> NDArray[np.float32]:
        """Return what the ensemble predicts on the proxy: rows that sum to 1."""
        if self.votes is None or self.weights is None:
            raise ValueError("A teacher should have heard one client at least. Found none.")
        votes = self.votes / self.weights
        return np.asarray(votes / votes.sum(axis=1, keepdims=True), np.float32)


def open_teacher(model: Model, federation: Federation, config: DistillConfig, *, seed: int) -> Teacher | None:
    """Return a teacher that has heard nobody, or None where nothing is distilled."""
    proxy, validation = federation.proxy, federation.validation
    if not config.enabled or not len(validation) or not (len(proxy) or config.data_free):
        return None
    if not len(proxy):
        proxy = noise(validation.x, NOISE_PER_SAMPLE * len(validation), seed=seed)
    asked = questions(proxy, config.mixup, seed=seed)
    return Teacher(model, asked, config.temperature, config.certainty)


@dataclass(frozen=True)
class Distilled:
    """The model to go on with, and both candidates' scores on the validation slice."""

    model: Update
    kept: bool
    before: Scores
    after: Scores


def distill(
    average: Update, teacher: Teacher, validation: Samples, config: DistillConfig, *, seed: int
) -> Distilled:
    """Return the distilled model where the validation slice is better for it, else the average.

    Better by `config.margin` of the samples: of two models that are as good, either may do better by chance.
    """
    model = teacher.model
    student = model.imitate(average, teacher.proxy, teacher.opinion(), config, seed=seed)
    before, after = model.score(average, validation), model.score(student, validation)
    gained = after.correct - before.correct
    kept = after.loss <= before.loss and gained >= config.margin * len(validation)
    return Distilled(student if kept else average, kept, before, after)


def certainty_of(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1 - entropy / log(classes) of each row: 1 where one class has it all, 0 where all are alike.

    Never quite 0, so that a sample on which all are undecided is still voted on.
    """
    entropy = -(probabilities * np.log(np.maximum(probabilities, 1e-300))).sum(axis=1)
    return np.asarray(np.maximum(1 - entropy / np.log(max(probabilities.shape[1], 2)), 1e-6))


def noise(like: NDArray[np.float32], count: int, *, seed: int) -> NDArray[np.float32]:
    """Return `count` inputs without any content: each number uniform between its extremes in `like`."""
    rng = np.random.Generator(np.random.PCG64(seed))
    low, high = like.min(axis=0), like.max(axis=0)
    found = low + (high - low) * rng.random((count, *like.shape[1:]), np.float32)
    return np.asarray(found, np.float32)


def questions(proxy: NDArray[np.float32], mixup: int, *, seed: int) -> NDArray[np.float32]:
    """Return the proxy samples and `mixup` mixtures of random pairs for each.

    Few samples say little about a teacher that is nearly undecided on them; what it says between them
    does (function matching: Beyer et al. 2022, arXiv 2106.05237).
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    first, second = rng.integers(0, len(proxy), (2, mixup * len(proxy)))
    share = rng.random((mixup * len(proxy), *[1] * (proxy.ndim - 1)), np.float32)
    return np.concatenate([proxy, share * proxy[first] + (1 - share) * proxy[second]])


def softmax(logits: NDArray[np.float32], temperature: float) -> NDArray[np.float64]:
    """Return the softmax of `logits / temperature` along the last axis, in float64."""
    scaled = logits.astype(np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    exponentials = np.exp(scaled)
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))
