"""How much each weight matters to what is known: the diagonal of the empirical Fisher information.

J. Kirkpatrick et al., "Overcoming catastrophic forgetting in neural networks", PNAS 2017; J. Schwarz et al.,
"Progress and compress", ICML 2018, for the running sum that fades.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from phloem.client.goal import Goal
from phloem.compression.update import Update

FADING = 0.9
"""What is left of the sum when a round's information is added to it."""


def diagonal(module: nn.Module, goal: Goal) -> dict[str, torch.Tensor]:
    """Return, for each weight that is learned, the mean of its squared gradient over the goal's samples."""
    named = [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]
    parameters = [parameter for _, parameter in named]
    total = [torch.zeros_like(parameter) for parameter in parameters]
    for place in range(len(goal.x)):  # one at a time: a batch's gradient, squared, is another number
        with torch.enable_grad():
            loss = goal(module, slice(place, place + 1))
        gradients = torch.autograd.grad(loss, parameters, materialize_grads=True)
        torch._foreach_addcmul_(total, gradients, gradients, 1 / len(goal.x))
    return {name: each for (name, _), each in zip(named, total, strict=True)}


def accumulate(before: Update | None, new: Update) -> Update:
    """Return the faded sum of what was known to matter and what matters now."""
    if before is None:
        return new
    return {name: np.asarray(np.float32(FADING) * before[name] + array) for name, array in new.items()}
