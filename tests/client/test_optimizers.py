"""The optimizers agree with torch.optim's, which serves as the reference."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from phloem.client.optimizers import optimizer
from phloem.config import ClientConfig


def problem(seed: int = 0) -> list[torch.Tensor]:
    """Return parameters of several shapes."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, requires_grad=True) for shape in [(4, 3), (4,), ()]]


def loss_of(parameters: list[torch.Tensor]) -> torch.Tensor:
    """Return a loss in which every parameter matters."""
    weight, bias, scale = parameters
    return ((weight.sum(1) + bias) ** 2).sum().sqrt() * scale.exp()


SETTINGS: list[dict[str, Any]] = [
    {},
    {"weight_decay": 0.1},
    {"momentum": 0.9},
    {"momentum": 0.5, "weight_decay": 0.01},
    {"optimizer": "adamw"},
    {"optimizer": "adamw", "weight_decay": 0.1},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_steps_are_those_of_torch_optim(settings: dict[str, Any]) -> None:
    """Same rule, less bookkeeping: a published learning rate means the same here."""
    ours, theirs = problem(), problem()
    config = ClientConfig(learning_rate=0.05, **settings)
    rule = optimizer(config, ours)
    reference: torch.optim.Optimizer
    if config.optimizer == "adamw":
        reference = torch.optim.AdamW(theirs, lr=0.05, weight_decay=config.weight_decay)
    else:
        reference = torch.optim.SGD(
            theirs, lr=0.05, momentum=config.momentum, weight_decay=config.weight_decay
        )
    for _ in range(10):
        gradients = torch.autograd.grad(loss_of(ours), ours)
        with torch.no_grad():
            rule.step(list(gradients))
        reference.zero_grad()
        loss_of(theirs).backward()  # type: ignore[no-untyped-call]
        reference.step()
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)


def test_a_falling_rate_is_torchs_cosine() -> None:
    """Protects the schedule of a distillation: the rates are those of the published one, down to 0."""
    ours, theirs = problem(), problem()
    rule = optimizer(ClientConfig(optimizer="adamw", learning_rate=0.05), ours, None, 10)
    reference = torch.optim.AdamW(theirs, lr=0.05, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(reference, T_max=10)
    before = list[torch.Tensor]()
    for _ in range(11):
        before = [parameter.detach().clone() for parameter in ours]
        gradients = torch.autograd.grad(loss_of(ours), ours)
        with torch.no_grad():
            rule.step(list(gradients))
        reference.zero_grad()
        loss_of(theirs).backward()  # type: ignore[no-untyped-call]
        reference.step()
        schedule.step()
    for mine, other, last in zip(ours, theirs, before, strict=True):
        torch.testing.assert_close(mine, last, msg="after the last step the rate is 0")
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)


def test_the_proximal_term_pulls_back_to_the_start() -> None:
    """Its gradient is mu (w - w_start): nothing at the start, more with distance."""
    (weight,) = parameters = [torch.tensor([1.0])]
    rule = optimizer(ClientConfig(learning_rate=0.5, proximal=0.2), parameters)
    rule.step([torch.tensor([4.0])])
    assert weight.item() == pytest.approx(1 - 0.5 * 4)
    rule.step([torch.tensor([0.0])])
    assert weight.item() == pytest.approx(-1 - 0.5 * 0.2 * (-1 - 1))


@pytest.mark.parametrize(
    "settings", [*SETTINGS, {"proximal": 0.1, "weight_decay": 0.1, "momentum": 0.9}], ids=str
)
def test_gradients_are_not_written_to(settings: dict[str, Any]) -> None:
    """Autograd may hand out one tensor for two parameters; a sum into it would count twice."""
    parameters = problem()
    rule = optimizer(ClientConfig(**settings), parameters)
    gradients = [torch.ones_like(parameter) for parameter in parameters]
    with torch.no_grad():
        for _ in range(3):
            rule.step(gradients)
    assert all((gradient == 1).all() for gradient in gradients)
