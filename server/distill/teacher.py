"""The teacher of an ensemble distillation: the clients' models, as votes on what they are asked about.

By default a class's score is the product of what the clients say of it, each to the power of its weight: the
square root of how many samples of the class the client saw this round. Who says it are log-probabilities
without the client's own class frequencies, as it would call nearly everything what it saw nearly always
(logit adjustment: Menon et al. 2021, arXiv 2007.07314; ensemble fusion: Lin et al. 2020, FedDF, 2006.07242).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from phloem.compression.update import Update
from phloem.learning import Model

SMOOTHING = 0.1
"""Samples a class that a client did not see counts for, so that a class nobody saw is voted on by all."""

FLOOR = 1e-4
"""The least probability that a vote in a product is: nobody alone rules a class out."""


@dataclass(frozen=True, eq=False)
class Voter:
    """A model that was heard, where it will be asked again."""

    model: Model
    weights: Update
    counts: NDArray[np.float64]


@dataclass
class Teacher:
    """The clients' summed votes on the proxy: memory O(proxy x classes), whatever the number of clients."""

    model: Model
    proxy: NDArray[np.float32]
    temperature: float
    rule: Literal["product", "certain", "mean"] = "product"
    remembers: bool = False
    """Whether models are kept, to be asked about samples that there are none of yet."""
    voters: list[Voter] = field(default_factory=list, init=False)
    votes: NDArray[np.float64] | None = field(default=None, init=False)
    weights: NDArray[np.float64] | None = field(default=None, init=False)
    total: float = field(default=0.0, init=False)
    """The class counts of all who were heard, together."""

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
        model = of or self.model
        logits = model.logits(client_model, self.proxy)
        if not np.isfinite(logits).all():
            return
        counts = np.asarray(class_counts, np.float64) + SMOOTHING
        if self.remembers:
            self.voters.append(Voter(model, client_model, counts - SMOOTHING))
        said, weight = vote(logits, counts, self.temperature, self.rule)
        if self.votes is None or self.weights is None:
            self.votes, self.weights = said * weight, weight
        else:
            self.votes, self.weights = self.votes + said * weight, self.weights + weight
        self.total += float(counts.sum())

    def hear_again(self, global_model: Update, share: float) -> None:
        """Add what the last global model says of every class alike, with `share` of all samples so far.

        It knows what clients saw in earlier rounds, and those of this round may not.
        """
        if self.weights is None or share == 0:
            return
        self.hear(global_model, np.full(self.model.classes, share * self.total / self.model.classes))

    def asked(self, proxy: NDArray[np.float32]) -> Teacher:
        """Return a teacher that has heard the same models on other samples."""
        other = Teacher(self.model, proxy, self.temperature, self.rule)
        for voter in self.voters:
            other.hear(voter.weights, voter.counts, voter.model)
        return other

    def opinion(self) -> NDArray[np.float32]:
        """Return what the ensemble predicts on the proxy: rows that sum to 1."""
        if self.votes is None or self.weights is None:
            raise ValueError("A teacher should have heard one client at least. Found none.")
        votes = self.votes / self.weights
        if self.rule == "product":
            return np.asarray(softmax(votes, self.temperature), np.float32)
        return np.asarray(votes / votes.sum(axis=1, keepdims=True), np.float32)


def vote(
    logits: NDArray[np.float32],
    counts: NDArray[np.float64],
    temperature: float,
    rule: Literal["product", "certain", "mean"],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what a client says of each sample and class, and its weight by class, or by sample and class."""
    if rule == "product":
        weight, bias = of_product(counts)
        return np.log(softmax(logits - bias, 1.0) + FLOOR), weight
    if rule == "mean":
        return softmax(logits, temperature), counts
    return softmax(logits, temperature), counts * certainty_of(softmax(logits, 1.0))[:, None]


def of_product(counts: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return a client's weight in each class, and what its logits have too much of by its class counts."""
    return np.sqrt(counts), np.log(counts / counts.sum())


def certainty_of(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1 - entropy / log(classes) of each row: 1 where one class has it all, 0 where all are alike.

    Never quite 0, so that a sample on which all are undecided is still voted on.
    """
    entropy = -(probabilities * np.log(np.maximum(probabilities, 1e-300))).sum(axis=1)
    return np.asarray(np.maximum(1 - entropy / np.log(max(probabilities.shape[1], 2)), 1e-6))


def softmax(logits: NDArray[np.float32] | NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Return the softmax of `logits / temperature` along the last axis, in float64."""
    scaled = logits.astype(np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    exponentials = np.exp(scaled)
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))
