"""What a network is for: telling classes apart, or rebuilding its inputs to find those it cannot rebuild.

A task is a loss to learn by, a distance between two networks' outputs, and the scores that are reported.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import numpy as np
import torch
from torch.nn import functional

from phloem.config import ModelConfig
from phloem.learning import Scores

TEMPERATURE = 2.0
"""How soft a teacher's predictions are made before they are compared."""

Part = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Outputs, inputs and labels of some samples."""


class Task(Protocol):
    """What is computed from a network's outputs."""

    def output_shape(self, input_shape: tuple[int, ...], classes: int) -> tuple[int, ...]:
        """Return the shape of the outputs for one sample."""
        ...

    def loss(self, outputs: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return the mean loss of a batch."""
        ...

    def distance(self, outputs: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        """Return how far outputs are from a teacher's, as a mean over samples."""
        ...

    def score(self, parts: Iterable[Part]) -> Scores:
        """Return the scores of some samples, one at least, handed over in parts."""
        ...


class Classification:
    """Cross-entropy; the prediction is the largest logit."""

    def output_shape(self, input_shape: tuple[int, ...], classes: int) -> tuple[int, ...]:
        """Return one logit a class."""
        return (classes,)

    def loss(self, outputs: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return the mean cross-entropy in nats."""
        return functional.cross_entropy(outputs, y)

    def distance(self, outputs: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        """Return T^2 KL(teacher || student) at `TEMPERATURE`: the square keeps the gradient's size."""
        student = functional.log_softmax(outputs / TEMPERATURE, dim=1)
        wanted = functional.log_softmax(teacher / TEMPERATURE, dim=1)
        divergence = functional.kl_div(student, wanted, reduction="batchmean", log_target=True)
        return TEMPERATURE**2 * divergence

    def score(self, parts: Iterable[Part]) -> Scores:
        """Return mean cross-entropy and hits; an error is 1 for a miss and 0 for a hit."""
        loss, predicted, labels = 0.0, [], []
        for outputs, _, y in parts:
            loss += float(functional.cross_entropy(outputs, y, reduction="sum"))
            predicted.append(outputs.argmax(1).cpu().numpy())
            labels.append(y.cpu().numpy())
        found = np.concatenate(predicted)
        hits = found == np.concatenate(labels)
        return Scores(
            loss=loss / len(found),
            correct=int(hits.sum()),
            samples=len(found),
            predicted=found,
            errors=1.0 - hits.astype(np.float32),
        )


class Reconstruction:
    """Mean squared error of the rebuilt inputs: how a sample is missed tells anomalies."""

    def output_shape(self, input_shape: tuple[int, ...], classes: int) -> tuple[int, ...]:
        """Return the shape of the inputs."""
        return input_shape

    def loss(self, outputs: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return the mean squared error."""
        return functional.mse_loss(outputs, x)

    def distance(self, outputs: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        """Return the mean squared difference."""
        return functional.mse_loss(outputs, teacher)

    def score(self, parts: Iterable[Part]) -> Scores:
        """Return the mean error, each sample's, and each input's."""
        missed = [
            functional.mse_loss(outputs, x, reduction="none").flatten(1).cpu().numpy()
            for outputs, x, _ in parts
        ]
        squares = np.concatenate(missed)
        errors = squares.mean(axis=1)
        return Scores(
            loss=float(errors.mean(dtype=np.float64)),
            correct=0,
            samples=len(errors),
            errors=errors,
            squares=squares,
        )


CLASSIFICATION, RECONSTRUCTION = Classification(), Reconstruction()


def task_of(model: ModelConfig) -> Task:
    """Return what a model is for: an `autoencoder` rebuilds, every other classifies."""
    return RECONSTRUCTION if model.name == "autoencoder" else CLASSIFICATION
