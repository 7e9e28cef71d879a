"""What a run needs of a model, whichever library trains it.

Client and server share this contract, not an implementation: the server, which may
not import the client, opens the same learner by its reference.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from phloem.compression.update import Schema, Update
from phloem.config import ClientConfig, DistillConfig, ModelConfig
from phloem.references import load_reference
from phloem.sources import Samples
from phloem.submodel import Layout, Sizes, Submodel

LEARNER = "phloem.client.learner:open_learner"


@dataclass(frozen=True, slots=True)
class Scores:
    """How well weights predict: `loss` is the mean cross-entropy in nats.

    Of a model that finds anomalies it is the mean squared error of what it rebuilds, and `correct` is 0, as
    nothing is classified. Without samples all are 0: weigh by `samples` when averaging.
    """

    loss: float
    correct: int
    samples: int
    predicted: NDArray[np.int64] | None = field(default=None, compare=False, repr=False)
    """Each sample's largest logit; None of a model that finds anomalies."""
    errors: NDArray[np.float32] | None = field(default=None, compare=False, repr=False)
    """What a drift detector watches, a number a sample: 0 for a hit and 1 for a miss, or its mean square."""
    squares: NDArray[np.float32] | None = field(default=None, compare=False, repr=False)
    """Of a model that finds anomalies: how far it misses each input of a sample, squared, `(n, inputs)`."""

    @property
    def accuracy(self) -> float:
        """The share of samples whose largest logit is their label."""
        return self.correct / self.samples if self.samples else 0.0


@dataclass(frozen=True, eq=False, slots=True)
class Past:
    """What a client still knows of earlier samples when it learns new ones; by default nothing."""

    samples: Samples | None = None
    logits: NDArray[np.float32] | None = None
    """What the model said of them when they were new, `(n, classes)`."""
    fisher: Update | None = None
    """How much each weight mattered to earlier samples: the diagonal of the Fisher information."""


NOTHING = Past()


class Model(Protocol):
    """Weights in, weights or predictions out; no call leaves a trace in the next.

    `learn` returns new weights; its delta is `subtract(new, weights)`.
    """

    @property
    def classes(self) -> int:
        """How many classes are told apart."""
        ...

    @property
    def schema(self) -> Schema:
        """The tensors of the weights, in the order of the wire."""
        ...

    @property
    def layout(self) -> Layout:
        """Where the channels of the hidden layers lie.

        Raises:
            ConfigError: this network cannot be cut.
        """
        ...

    def part(self, submodel: Submodel, inner: tuple[Sizes, ...] = ()) -> Model:
        """Return the model of a narrower network cut out of this one.

        `inner` are even narrower ones, of its first channels, that learn in turn with it.
        """
        ...

    def initial(self, seed: int) -> Update:
        """Return untrained weights, the same for the same seed."""
        ...

    def logits(self, weights: Update, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the logits `(n, classes)` of inputs `(n, *input_shape)`."""
        ...

    def score(self, weights: Update, samples: Samples) -> Scores:
        """Predict the samples and compare with their labels."""
        ...

    def learn(
        self, weights: Update, samples: Samples, config: ClientConfig, seed: int, past: Past = NOTHING
    ) -> Update:
        """Return the weights after training on the samples, and on what is left of earlier ones."""
        ...

    def fisher(self, weights: Update, samples: Samples) -> Update:
        """Return the mean over the samples of each gradient of the loss, squared; 0 where there is none."""
        ...

    def importance(self, weights: Update, samples: Samples, values: Update, by: str) -> Update:
        """Return how much it would matter to leave each of `values` out of the weights that hold them.

        `by` is "importance", for what the loss would miss, or "information", for what a channel says of the
        label.
        """
        ...

    def imitate(
        self,
        weights: Update,
        x: NDArray[np.float32],
        opinion: NDArray[np.float32],
        config: DistillConfig,
        seed: int,
        lessons: Samples | None = None,
    ) -> Update:
        """Return the weights after steps towards a teacher's softened predictions `(n, classes)` on `x`.

        `lessons` are labelled samples, for the share of the loss that `config.label_weight` says.
        """
        ...

    def network(self, weights: Update) -> object:
        """Return the torch module, with these weights, for who needs a gradient on the inputs."""
        ...


def open_learner(
    model: ModelConfig, input_shape: tuple[int, ...], classes: int, device: str = "cpu"
) -> Model:
    """Return the model that `model` describes for such inputs, built once a process.

    Raises:
        ConfigError: there is no such model, or it does not fit the inputs.
    """
    learner: Model = load_reference(LEARNER)(model, input_shape, classes, device)
    return learner
