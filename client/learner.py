"""The learner: weights and samples in, predictions or new weights out.

    weights ─> logits ─> score ─> learn ─> weights

A module serves as scratch space only: every call loads its weights first, so no client
leaves a trace in the next.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from phloem.client.models import build_model, load_weights, seeded, weights_of
from phloem.client.optimizers import optimizer
from phloem.client.threads import one_thread
from phloem.compression.update import Schema, Update
from phloem.config import ClientConfig, DistillConfig, ModelConfig
from phloem.errors import ConfigError, DataError
from phloem.learning import Scores
from phloem.sources import Samples

PREDICTED_AT_ONCE = 256  # a cnn is twice as fast as with 1024: its activations stay in the cache


def open_learner(
    model: ModelConfig, input_shape: tuple[int, ...], classes: int, device: str = "cpu"
) -> Learner:
    """Return the learner for a model, built once a process.

    Raises:
        ConfigError: there is no such model or device, or it does not fit the inputs.
    """
    return _learner(model, input_shape, classes, device)


@lru_cache(maxsize=16)
def _learner(model: ModelConfig, input_shape: tuple[int, ...], classes: int, device: str) -> Learner:
    return Learner(model, input_shape, classes, device)


class Learner:
    """A model and its loss, cross-entropy. Satisfies `phloem.learning.Model`; may be shared by threads.

    On the CPU the same weights, samples and seed give the same bits, whatever the number of
    threads. A network that draws random numbers while it trains (dropout) keeps this with one
    training thread a process, as torch has one generator for all of them.
    """

    def __init__(self, model: ModelConfig, input_shape: tuple[int, ...], classes: int, device: str) -> None:
        self.model = model
        self.input_shape = input_shape
        self.classes = classes
        self.schema = Schema.of(weights_of(build_model(model, input_shape, classes, seed=0)))
        try:
            self.device = torch.device(device)
            torch.zeros(1, device=self.device)
        except (RuntimeError, AssertionError) as error:
            raise ConfigError(
                f"`client.device` should be a device of this machine, such as 'cpu' or 'cuda:0'. "
                f"Found {device!r}: {str(error).splitlines()[0]}. Use 'cpu'."
            ) from error
        self._own = threading.local()

    def initial(self, seed: int) -> Update:
        """Return untrained weights, the same for the same seed."""
        return weights_of(build_model(self.model, self.input_shape, self.classes, seed))

    def logits(self, weights: Update, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the logits `(n, classes)` of inputs `(n, *input_shape)`."""
        self._check_inputs(x)
        with one_thread(), torch.no_grad():
            parts = [part.cpu().numpy() for part in self._predict(weights, x)]
        return np.concatenate(parts) if parts else np.zeros((0, self.classes), np.float32)

    def score(self, weights: Update, samples: Samples) -> Scores:
        """Predict the samples and compare with their labels.

        Raises:
            DataError: the samples do not fit the model.
        """
        self._check(samples)
        if not len(samples):
            return Scores(loss=0.0, correct=0, samples=0)
        loss, correct, start = 0.0, 0, 0
        with one_thread(), torch.no_grad():
            y = torch.tensor(samples.y, device=self.device)
            for part in self._predict(weights, samples.x):
                labels = y[start : start + len(part)]
                loss += float(functional.cross_entropy(part, labels, reduction="sum"))
                correct += int((part.argmax(1) == labels).sum())
                start += len(part)
        return Scores(loss=loss / len(samples), correct=correct, samples=len(samples))

    def learn(self, weights: Update, samples: Samples, config: ClientConfig, seed: int) -> Update:
        """Return the weights after `config.epochs` passes over the samples.

        The first pass is in order of arrival, later ones are shuffled by the seed. Without
        samples the weights come back unchanged; where training diverges they are not finite.

        Raises:
            DataError: the samples do not fit the model.
            ConfigError: the user's network does not work on such a batch.
        """
        self._check(samples)
        batches = _passes(len(samples), config.batch_size, config.epochs, seed)

        def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            return functional.cross_entropy(logits, labels)

        return self._descend(weights, (samples.x, samples.y), loss, batches, config, seed)

    def imitate(
        self,
        weights: Update,
        x: NDArray[np.float32],
        opinion: NDArray[np.float32],
        config: DistillConfig,
        seed: int,
    ) -> Update:
        """Return the weights after `config.steps` steps towards a teacher's softened predictions on `x`.

        `opinion` is `(n, classes)` with rows that sum to 1, softened at `config.temperature`. The loss is
        T^2 KL(opinion || softmax(logits / T)): the square keeps the gradient's size whatever T is.
        """
        self._check_inputs(x)
        rng = np.random.Generator(np.random.PCG64(seed))
        batches = (rng.integers(0, len(x), config.batch_size) for _ in range(config.steps))

        def loss(logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
            log_student = functional.log_softmax(logits / config.temperature, dim=1)
            return config.temperature**2 * functional.kl_div(log_student, wanted, reduction="batchmean")

        rule = ClientConfig(optimizer="adamw", learning_rate=config.learning_rate)
        return self._descend(weights, (x, opinion), loss, batches, rule, seed)

    def _descend(
        self,
        weights: Update,
        data: tuple[NDArray[Any], NDArray[Any]],
        loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        batches: Iterable[slice | NDArray[np.intp]],
        config: ClientConfig,
        seed: int,
    ) -> Update:
        """Take one step of `config`'s optimizer a batch.

        Raises:
            ConfigError: the user's network does not work on such a batch.
        """
        with one_thread(), seeded(seed, self.device):
            module = self._loaded(weights)
            module.train()
            parameters: list[torch.Tensor] = [p for p in module.parameters() if p.requires_grad]
            x, wanted = (torch.tensor(part, device=self.device) for part in data)
            with torch.no_grad():
                rule = optimizer(config, parameters)
                for batch in batches:
                    try:
                        with torch.enable_grad():
                            value = loss(module(x[batch]), wanted[batch])
                        # A layer that a user's network does not use gets a gradient of zeros.
                        gradients = torch.autograd.grad(value, parameters, materialize_grads=True)
                    except (RuntimeError, ValueError) as error:
                        raise ConfigError(
                            f"{self.model.name!r} should learn from {len(x[batch])} samples at once. Found "
                            f"{type(error).__name__}: {error}. Change its layers or `client.batch_size`."
                        ) from error
                    rule.step(list(gradients))
            return weights_of(module)

    def _predict(self, weights: Update, x: NDArray[np.float32]) -> Iterator[torch.Tensor]:
        module = self._loaded(weights)
        module.eval()
        for start in range(0, len(x), PREDICTED_AT_ONCE):
            yield module(torch.tensor(x[start : start + PREDICTED_AT_ONCE], device=self.device))

    def _loaded(self, weights: Update) -> nn.Module:
        """Return this thread's module with these weights, and its integer buffers as at first."""
        module: nn.Module | None = getattr(self._own, "module", None)
        if module is None:
            module = build_model(self.model, self.input_shape, self.classes, seed=0).to(self.device)
            self._own.module = module
            self._own.buffers = [
                (tensor, tensor.clone())
                for tensor in module.state_dict().values()
                if not tensor.is_floating_point()
            ]
        with torch.no_grad():
            load_weights(module, weights)
            for tensor, first in self._own.buffers:
                tensor.copy_(first)
        return module

    def _check(self, samples: Samples) -> None:
        self._check_inputs(samples.x)
        y = samples.y
        if len(y) != len(samples.x):
            raise DataError(
                f"There should be a label for each of {len(samples.x)} samples. Found {len(y)}. "
                "Take inputs and labels from the same place."
            )
        if len(y) and not 0 <= int(y.min()) <= int(y.max()) < self.classes:
            raise DataError(
                f"Labels should lie in 0..{self.classes - 1}, the model's. Found {y.min()}..{y.max()}. "
                "Open the model with the number of classes of the data."
            )

    def _check_inputs(self, x: NDArray[np.float32]) -> None:
        if x.shape[1:] != self.input_shape or x.dtype != np.float32:
            raise DataError(
                f"Inputs should be float32 (n, {', '.join(map(str, self.input_shape))}). "
                f"Found {x.dtype} {x.shape}. Open the model with the input shape of the data."
            )


def _passes(size: int, batch_size: int, epochs: int, seed: int) -> Iterator[slice | NDArray[np.intp]]:
    """Yield the batches of each pass: the first in order of arrival, the others shuffled."""
    rng = np.random.Generator(np.random.PCG64(seed))
    for epoch in range(epochs):
        order = rng.permutation(size) if epoch else None
        for start in range(0, size, batch_size):
            batch = slice(start, start + batch_size)
            yield batch if order is None else order[batch]
