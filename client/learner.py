"""The learner: weights and samples in, predictions or new weights out.

    weights ─> logits ─> score ─> learn ─> weights

A module serves as scratch space only: every call loads its weights first, so no client
leaves a trace in the next.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from phloem.client.batches import draws, length_of, passes
from phloem.client.expected import Expected
from phloem.client.fisher import diagonal
from phloem.client.goal import Batch, Goal, Recall
from phloem.client.imitation import Imitation
from phloem.client.importance import measure
from phloem.client.models.build import build_model, codes_of, load_weights, seeded, weights_of
from phloem.client.models.narrow import in_turn, layout_of, narrowed
from phloem.client.optimizers import optimizer
from phloem.client.tasks import Part, task_of
from phloem.client.threads import one_thread
from phloem.compression.update import Schema, Update
from phloem.config import ClientConfig, DistillConfig, ModelConfig
from phloem.errors import ConfigError
from phloem.learning import NOTHING, Past, Scores
from phloem.seeds import generator
from phloem.sources import Samples
from phloem.submodel import Layout, Sizes, Submodel

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
def _learner(
    model: ModelConfig,
    input_shape: tuple[int, ...],
    classes: int,
    device: str,
    inner: tuple[Sizes, ...] = (),
) -> Learner:
    return Learner(model, input_shape, classes, device, inner)


class Learner:
    """A model and its task. Satisfies `phloem.learning.Model`; may be shared by threads.

    On the CPU the same weights, samples and seed give the same bits, whatever the number of
    threads. A network that draws random numbers while it trains (dropout) keeps this with one
    training thread a process, as torch has one generator for all of them.
    """

    def __init__(
        self,
        model: ModelConfig,
        input_shape: tuple[int, ...],
        classes: int,
        device: str,
        inner: tuple[Sizes, ...] = (),
    ) -> None:
        """`inner` are the narrower networks within this one that learn in turn with it."""
        self.model = model
        self.inner = inner
        self.input_shape = input_shape
        self.classes = classes
        self.task = task_of(model)
        self.schema = Schema.of(weights_of(build_model(model, input_shape, classes, seed=0)))
        try:
            self.device = torch.device(device)
            torch.zeros(1, device=self.device)
        except (RuntimeError, AssertionError) as error:
            raise ConfigError(
                f"`client.device` should be a device of this machine, such as 'cpu' or 'cuda:0'. "
                f"Found {device!r}: {str(error).splitlines()[0]}. Use 'cpu'."
            ) from error
        self.expected = Expected(input_shape, classes, codes_of(model, classes))
        self._own = threading.local()

    @property
    def layout(self) -> Layout:
        """Where the channels of the hidden layers lie.

        Raises:
            ConfigError: this network cannot be cut.
        """
        return layout_of(self.model, self.schema)

    def part(self, submodel: Submodel, inner: tuple[Sizes, ...] = ()) -> Learner:
        """Return the learner for a narrower network, one for all submodels of the same sizes."""
        model = narrowed(self.model, submodel.sizes)
        return _learner(model, self.input_shape, self.classes, str(self.device), inner)

    def initial(self, seed: int) -> Update:
        """Return untrained weights, the same for the same seed."""
        return weights_of(build_model(self.model, self.input_shape, self.classes, seed))

    def logits(self, weights: Update, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the logits `(n, classes)` of inputs `(n, *input_shape)`.

        Raises:
            ConfigError: the model has none, as it tells no classes apart.
            DataError: the inputs do not fit the model.
        """
        if self.task.output_shape(self.input_shape, self.classes) != (self.classes,):
            raise ConfigError(
                f"Only a model that tells classes apart has logits. Found {self.model.name!r}. "
                "Leave out distillation and `client.replay = 'der'`."
            )
        self.expected.check_inputs(x)
        with one_thread(), torch.no_grad():
            parts = [outputs.cpu().numpy() for outputs, _ in self._predict(weights, x)]
        return np.concatenate(parts) if parts else np.zeros((0, self.classes), np.float32)

    def score(self, weights: Update, samples: Samples) -> Scores:
        """Predict the samples and compare with their labels.

        Raises:
            DataError: the samples do not fit the model.
        """
        self.expected.check(samples)
        if not len(samples):
            return Scores(loss=0.0, correct=0, samples=0)
        with one_thread(), torch.no_grad():
            return self.task.score(self._parts(weights, samples))

    def learn(
        self, weights: Update, samples: Samples, config: ClientConfig, seed: int, past: Past = NOTHING
    ) -> Update:
        """Return the weights after `config.epochs` passes over the samples.

        The first pass is in order of arrival, later ones are shuffled by the seed. Without
        samples the weights come back unchanged; where training diverges they are not finite.

        Raises:
            DataError: the samples do not fit the model.
            ConfigError: the user's network does not work on such a batch.
        """
        self.expected.check(samples)
        batches = passes(len(samples), config.batch_size, config.epochs, seed)
        goal = in_turn(self._goal(weights, samples, config, past, seed), self.inner, seed)
        return self._descend(weights, goal, batches, config, seed, past.fisher)

    def fisher(self, weights: Update, samples: Samples) -> Update:
        """Return the mean over the samples of each gradient of the loss, squared.

        Weights that are not learned have 0.
        """
        self.expected.check(samples)
        with one_thread(), torch.no_grad():
            module = self._loaded(weights)
            module.eval()
            found = diagonal(module, Goal(self.task, *self._tensors(samples)))
            zeros = {name: np.zeros(array.shape, np.float32) for name, array in weights.items()}
            return {**zeros, **{name: each.cpu().numpy() for name, each in found.items()}}

    def importance(self, weights: Update, samples: Samples, values: Update, by: str) -> Update:
        """Return how much it would matter to leave `values` out of the weights, as a codec asks for it."""
        self.expected.check(samples)
        return measure(self._loaded(weights), samples, values, self.task.loss, by)

    def imitate(
        self,
        weights: Update,
        x: NDArray[np.float32],
        opinion: NDArray[np.float32],
        config: DistillConfig,
        seed: int,
        lessons: Samples | None = None,
    ) -> Update:
        """Return the weights after `config.steps` steps towards a teacher's softened predictions on `x`.

        `opinion` is `(n, classes)`, its rows sum to 1; of the loss, `config.label_weight` is of `lessons`.
        """
        self.expected.check_inputs(x)
        inputs, wanted = (torch.tensor(part, device=self.device) for part in (x, opinion))
        taught = self._tensors(lessons) if lessons is not None and len(lessons) else None
        loss = Imitation(inputs, wanted, config, taught, generator(seed, "lessons"))
        rule, over = ClientConfig(optimizer="adamw", learning_rate=config.learning_rate), config.decay_steps
        batches = draws(len(x), config.batch_size, config.steps, seed)
        return self._descend(weights, loss, batches, rule, seed, decay_over=over)

    def network(self, weights: Update) -> nn.Module:
        """Return a torch network of its own with these weights, ready to predict."""
        return copy.deepcopy(self._loaded(weights)).eval()

    def _goal(self, weights: Update, samples: Samples, config: ClientConfig, past: Past, seed: int) -> Goal:
        """Return what `learn` lowers, with everything it needs on the device."""
        x, y = self._tensors(samples)
        recall = teacher = None
        if past.samples is not None and len(past.samples):
            self.expected.check(past.samples)
            logits = None if past.logits is None else torch.tensor(past.logits, device=self.device)
            recall = Recall(
                *self._tensors(past.samples),
                logits,
                config.replay_strength,
                config.logit_strength,
                generator(seed, "replay"),
            )
        if config.retain == "lwf" and len(samples):
            with one_thread(), torch.no_grad():
                teacher = torch.cat([outputs for outputs, _ in self._predict(weights, samples.x)])
        low = config.precision == "bfloat16"
        return Goal(self.task, x, y, recall, teacher, config.retain_strength, low)

    def _descend(
        self,
        weights: Update,
        loss: Callable[[nn.Module, Batch], torch.Tensor],
        batches: Iterable[Batch],
        config: ClientConfig,
        seed: int,
        fisher: Update | None = None,
        decay_over: int = 0,
    ) -> Update:
        """Take one step of `config`'s optimizer a batch.

        Raises:
            ConfigError: the user's network does not work on such a batch.
        """
        with one_thread(), seeded(seed, self.device):
            module = self._loaded(weights)
            module.train()
            named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
            parameters: list[torch.Tensor] = [p for _, p in named]
            pull = None
            if fisher is not None:
                pull = [torch.tensor(fisher[name], device=self.device) for name, _ in named]
            with torch.no_grad():
                rule = optimizer(config, parameters, pull, decay_over)
                for batch in batches:
                    try:
                        with torch.enable_grad():
                            value = loss(module, batch)
                        # A layer that a user's network does not use gets a gradient of zeros.
                        gradients = torch.autograd.grad(value, parameters, materialize_grads=True)
                    except (RuntimeError, ValueError) as error:
                        raise ConfigError(
                            f"{self.model.name!r} should learn from {length_of(batch)} samples at once. Found"
                            f" {type(error).__name__}: {error}. Change its layers or `client.batch_size`."
                        ) from error
                    rule.step(list(gradients))
            return weights_of(module)

    def _predict(
        self, weights: Update, x: NDArray[np.float32]
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield outputs and inputs, some samples at a time."""
        module = self._loaded(weights)
        module.eval()
        for start in range(0, len(x), PREDICTED_AT_ONCE):
            inputs = torch.tensor(x[start : start + PREDICTED_AT_ONCE], device=self.device)
            yield module(inputs), inputs

    def _parts(self, weights: Update, samples: Samples) -> Iterator[Part]:
        y, start = torch.tensor(samples.y, device=self.device), 0
        for outputs, inputs in self._predict(weights, samples.x):
            yield outputs, inputs, y[start : start + len(inputs)]
            start += len(inputs)

    def _tensors(self, samples: Samples) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.tensor(samples.x, device=self.device), torch.tensor(samples.y, device=self.device)

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
