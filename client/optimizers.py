"""SGD and AdamW over a list of parameters: torch.optim's arithmetic without its cost per step.

A step of a 10k-parameter network takes about as long as torch.optim's bookkeeping for it.
State lives as long as one call of `learn`: a client that is away for many rounds
would otherwise come back with stale momentum.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch

from phloem.config import ClientConfig

BETAS = (0.9, 0.999)
EPSILON = 1e-8


class Optimizer(Protocol):
    """Changes the parameters in place."""

    def step(self, gradients: list[torch.Tensor]) -> None:
        """Take one step; the gradients are in the parameters' order.

        They are not to be written to: autograd may hand out one tensor for two parameters.
        """
        ...


def optimizer(
    config: ClientConfig,
    parameters: list[torch.Tensor],
    fisher: list[torch.Tensor] | None = None,
    decay_over: int = 0,
) -> Optimizer:
    """Return a fresh optimizer for the parameters as they are now; `fisher` holds them where it is large.

    AdamW's rate falls along half a cosine to 0 over `decay_over` steps; 0 leaves it as it is.
    """
    sgd = config.optimizer == "sgd"
    rule: Optimizer = Sgd(config, parameters) if sgd else AdamW(config, parameters, decay_over)
    if config.proximal:
        rule = Proximal(rule, config.proximal, parameters)
    return rule if fisher is None else Elastic(rule, config, fisher, parameters)


class Sgd:
    """Gradient descent, with optional weight decay and momentum as in `torch.optim.SGD`."""

    def __init__(self, config: ClientConfig, parameters: list[torch.Tensor]) -> None:
        self._config = config
        self._parameters = parameters
        self._momentum: list[torch.Tensor] | None = None

    def step(self, gradients: list[torch.Tensor]) -> None:
        """Take one step."""
        config = self._config
        if config.weight_decay:
            gradients = list(torch._foreach_add(gradients, self._parameters, alpha=config.weight_decay))
        if config.momentum:
            if self._momentum is None:
                self._momentum = [gradient.clone() for gradient in gradients]
            else:
                torch._foreach_mul_(self._momentum, config.momentum)
                torch._foreach_add_(self._momentum, gradients)
            gradients = self._momentum
        torch._foreach_add_(self._parameters, gradients, alpha=-config.learning_rate)


class AdamW:
    """Adam with decoupled weight decay (arXiv:1711.05101), betas 0.9 and 0.999, as in `torch.optim.AdamW`."""

    def __init__(self, config: ClientConfig, parameters: list[torch.Tensor], decay_over: int = 0) -> None:
        self._full_rate, self._decay = config.learning_rate, config.weight_decay
        self._decay_over = decay_over
        self._parameters = parameters
        self._mean = [torch.zeros_like(parameter) for parameter in parameters]
        self._square = [torch.zeros_like(parameter) for parameter in parameters]
        self._steps = 0

    def step(self, gradients: list[torch.Tensor]) -> None:
        """Take one step."""
        rate = self._full_rate
        if self._decay_over:
            rate *= (1 + math.cos(math.pi * min(self._steps / self._decay_over, 1))) / 2
        self._steps += 1
        first, second = BETAS
        if self._decay:
            torch._foreach_mul_(self._parameters, 1 - rate * self._decay)
        torch._foreach_lerp_(self._mean, gradients, 1 - first)
        torch._foreach_mul_(self._square, second)
        torch._foreach_addcmul_(self._square, gradients, gradients, 1 - second)
        scale = torch._foreach_sqrt(self._square)
        torch._foreach_div_(scale, math.sqrt(1 - second**self._steps))
        torch._foreach_add_(scale, EPSILON)
        torch._foreach_addcdiv_(self._parameters, self._mean, scale, value=-rate / (1 - first**self._steps))


class Proximal:
    """FedProx (arXiv:1812.06127): adds the gradient of mu/2 |w - w_start|^2, then steps as another rule."""

    def __init__(self, rule: Optimizer, mu: float, parameters: list[torch.Tensor]) -> None:
        self._rule = rule
        self._mu = mu
        self._parameters = parameters
        self._start = [parameter.detach().clone() for parameter in parameters]

    def step(self, gradients: list[torch.Tensor]) -> None:
        """Take one step."""
        gradients = list(torch._foreach_add(gradients, self._parameters, alpha=self._mu))
        torch._foreach_add_(gradients, self._start, alpha=-self._mu)
        self._rule.step(gradients)


class Elastic:
    """Elastic weight consolidation (arXiv:1612.00796): holds each weight by what it mattered.

    After a step of another rule it takes the proximal step of strength/2 sum F (w - w_start)^2, F being the
    diagonal of the Fisher information: w_start + (w - w_start) / (1 + rate strength F). Unlike a step along
    the gradient of that term it cannot overshoot, however large the strength.
    """

    def __init__(
        self,
        rule: Optimizer,
        config: ClientConfig,
        fisher: list[torch.Tensor],
        parameters: list[torch.Tensor],
    ) -> None:
        self._rule = rule
        self._hold = [1 + config.learning_rate * config.retain_strength * each for each in fisher]
        self._parameters = parameters
        self._start = [parameter.detach().clone() for parameter in parameters]

    def step(self, gradients: list[torch.Tensor]) -> None:
        """Take one step."""
        self._rule.step(gradients)
        torch._foreach_sub_(self._parameters, self._start)
        torch._foreach_div_(self._parameters, self._hold)
        torch._foreach_add_(self._parameters, self._start)
