"""What a student lowers: its distance to a teacher's softened predictions, and to labels if there are any.

    label_weight CE(labels, student) + (1 - label_weight) T^2 KL(teacher || student), both softened at T

The square keeps the size of the gradient whatever T is (Hinton et al. 2015, arXiv 1503.02531).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from phloem.client.goal import Batch
from phloem.config import DistillConfig


@dataclass(frozen=True, eq=False)
class Imitation:
    """The loss of a batch; `opinion` has a row that sums to 1 for each of the inputs."""

    inputs: torch.Tensor
    opinion: torch.Tensor
    config: DistillConfig
    lessons: tuple[torch.Tensor, torch.Tensor] | None
    """Labelled inputs and their labels, drawn from beside each batch."""
    lots: np.random.Generator
    """What they are drawn with: its own generator, so that the batches are the same with and without."""

    def __call__(self, module: nn.Module, batch: Batch) -> torch.Tensor:
        """Return the loss, a number."""
        temperature, share = self.config.temperature, self.config.label_weight
        log_student = functional.log_softmax(module(self.inputs[batch]) / temperature, dim=1)
        distance = functional.kl_div(log_student, self.opinion[batch], reduction="batchmean")
        loss = temperature**2 * distance
        if self.lessons is None or not share:
            return loss
        x, y = self.lessons
        drawn = self.lots.integers(0, len(x), self.config.batch_size)
        return share * functional.cross_entropy(module(x[drawn]), y[drawn]) + (1 - share) * loss
