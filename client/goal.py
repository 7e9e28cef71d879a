"""What a step is to lower: the loss on new samples and on earlier ones, the distance to a teacher.

A. Chaudhry et al., "On tiny episodic memories in continual learning", 2019, for replay; P. Buzzega et al.,
"Dark experience for general continual learning", NeurIPS 2020, for logits kept beside the samples (DER++);
Z. Li, D. Hoiem, "Learning without forgetting", ECCV 2016, for the teacher, here the last global model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from phloem.client.tasks import Task

Batch = slice | NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Recall:
    """Earlier samples, of which a step sees as many as it sees new ones, drawn without replacement."""

    x: torch.Tensor
    y: torch.Tensor
    logits: torch.Tensor | None
    strength: float
    logit_strength: float
    rng: np.random.Generator

    def draw(self, count: int) -> torch.Tensor:
        """Return the places of `count` samples, or of all where there are fewer."""
        held = len(self.y)
        return torch.from_numpy(self.rng.choice(held, min(count, held), replace=False))


@dataclass(frozen=True, eq=False)
class Goal:
    """The loss as a function of a network and of a batch's places among the new samples `x`, `y`."""

    task: Task
    x: torch.Tensor
    y: torch.Tensor
    recall: Recall | None = None
    teacher: torch.Tensor | None = None
    """Its outputs for the new samples."""
    retain: float = 0.0
    low_precision: bool = False
    """Whether the network computes in bfloat16 where that is safe."""

    def __call__(self, module: nn.Module, batch: Batch) -> torch.Tensor:
        """Return the loss of a batch.

        That on earlier samples is averaged with that on new ones, by `strength`, not added: the step is as
        long as without replay, whatever the learning rate was chosen for.
        """
        x, y = self.x[batch], self.y[batch]
        if self.recall is None:
            outputs = self._outputs(module, x)
            loss = self.task.loss(outputs, x, y)
        else:
            outputs, loss = self._with_recall(module, x, y, self.recall)
        if self.teacher is not None:
            loss = loss + self.retain * self.task.distance(outputs, self.teacher[batch])
        return loss

    def _with_recall(
        self, module: nn.Module, x: torch.Tensor, y: torch.Tensor, recall: Recall
    ) -> tuple[torch.Tensor, torch.Tensor]:
        drawn = recall.draw(len(x)).to(x.device)
        earlier = recall.x[drawn]
        both = self._outputs(module, torch.cat([x, earlier]))
        outputs, again = both[: len(x)], both[len(x) :]
        loss = self.task.loss(outputs, x, y)
        loss = loss + recall.strength * self.task.loss(again, earlier, recall.y[drawn])
        if recall.logits is not None:
            loss = loss + recall.logit_strength * functional.mse_loss(again, recall.logits[drawn])
        return outputs, loss / (1 + recall.strength)

    def _outputs(self, module: nn.Module, x: torch.Tensor) -> torch.Tensor:
        if not self.low_precision:
            outputs: torch.Tensor = module(x)
            return outputs
        with torch.autocast(x.device.type, torch.bfloat16):
            outputs = module(x)
        return outputs.float()
