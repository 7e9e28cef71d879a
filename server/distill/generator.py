"""A generator that learns what to ask the clients' models about, where there are no samples to ask about.

    noise, wanted class ─> generator ─> input ─> clients' votes: the wanted class?  the student: another one?

It is trained until the ensemble takes what it makes for the class that was wanted, the student does not yet,
and other noise makes another input (J. Zhang et al. 2022, DENSE, arXiv 2112.12371; adversarial term: Fang et
al. 2019, arXiv 1912.11006; diversity: Mao et al. 2019, arXiv 1903.05628). Inputs of all of its training are
kept, not the last ones: what it forgets how to make is not forgotten by the student.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from phloem.compression.update import Update
from phloem.config import DistillConfig
from phloem.learning import Model
from phloem.server.distill.teacher import FLOOR, SMOOTHING, Voter, of_product
from phloem.server.shrink.network import reproducible

NOISE, HIDDEN, BATCH = 64, 256, 64
GENERATOR_RATE, STUDENT_RATE = 1e-3, 2e-3
DISAGREEMENT, DIVERSITY = 0.5, 1.0
"""Weights of the adversarial and of the diversity term beside the cross-entropy."""
LARGEST_DISTANCE = 4.0
"""In nats: a student that is further off is not worth more, or it would be all that is asked about."""


class Generator(nn.Module):
    """Noise and a class in, an input out, each number of it between its extremes in samples `like`."""

    def __init__(self, classes: int, like: NDArray[np.float32]) -> None:
        super().__init__()
        self.low, self.high = torch.tensor(like.min(axis=0)), torch.tensor(like.max(axis=0))
        self.layers = nn.Sequential(
            nn.Linear(NOISE + classes, HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, self.low.numel()),
        )

    def forward(self, z: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        """Return inputs `(n, ...)` for noise `(n, NOISE)` and one-hot classes `(n, classes)`."""
        made = torch.sigmoid(self.layers(torch.cat([z, classes], 1)))
        return torch.lerp(self.low, self.high, made.reshape(-1, *self.low.shape))


def generate(
    average: Update,
    model: Model,
    voters: Sequence[Voter],
    like: NDArray[np.float32],
    config: DistillConfig,
    *,
    seed: int,
) -> NDArray[np.float32]:
    """Return inputs to ask about, the same for the same seed: half of all the generator made on its way.

    Takes `config.generator_steps` steps of it, and as many of a student that begins from `average`. Of the
    samples `like` the range is used, and nothing else.
    """
    with reproducible(seed):
        student = cast(nn.Module, model.network(average))
        ensemble = _Ensemble(voters)
        generator = Generator(model.classes, like)
        ahead = torch.optim.Adam(generator.parameters(), GENERATOR_RATE)
        behind = torch.optim.Adam(student.parameters(), STUDENT_RATE)
        wanted = torch.tensor(sum(voter.counts for voter in voters) + SMOOTHING)
        kept = list[torch.Tensor]()
        for step in range(config.generator_steps):
            classes = torch.multinomial(wanted, BATCH, replacement=True)
            z = torch.randn(BATCH, NOISE)
            made = generator(z, functional.one_hot(classes, model.classes).float())
            ahead.zero_grad()
            torch.autograd.backward([_worth(made, z, classes, ensemble(made), student(made))])
            ahead.step()
            made = made.detach()
            with torch.no_grad():
                said = functional.softmax(ensemble(made), 1)
            behind.zero_grad()
            log_student = functional.log_softmax(student(made), 1)
            torch.autograd.backward([functional.kl_div(log_student, said, reduction="batchmean")])
            behind.step()
            if step % 2:
                kept.append(made)
        return np.concatenate([made.numpy() for made in kept])


def _worth(
    made: torch.Tensor, z: torch.Tensor, classes: torch.Tensor, said: torch.Tensor, student: torch.Tensor
) -> torch.Tensor:
    """Return what the generator lowers."""
    log_student = functional.log_softmax(student, 1)
    apart = functional.kl_div(log_student, functional.softmax(said, 1), reduction="none").sum(1)
    flat, other = made.flatten(1), made.flatten(1).roll(1, 0)
    same = (classes == classes.roll(1, 0)).float()
    spread = (flat - other).abs().mean(1) / (z - z.roll(1, 0)).abs().mean(1)
    diverse = (same * spread).sum() / same.sum().clamp(min=1)
    return (
        functional.cross_entropy(said, classes)
        - DISAGREEMENT * apart.clamp(max=LARGEST_DISTANCE).mean()
        - DIVERSITY * diverse
    )


class _Ensemble:
    """The product of the clients' votes, as `Teacher` has it, with a gradient on the inputs."""

    def __init__(self, voters: Sequence[Voter]) -> None:
        self._voters = list[tuple[nn.Module, torch.Tensor, torch.Tensor]]()
        total = sum(of_product(voter.counts + SMOOTHING)[0] for voter in voters)
        for voter in voters:
            weight, bias = of_product(voter.counts + SMOOTHING)
            network = cast(nn.Module, voter.model.network(voter.weights)).requires_grad_(False)
            share = torch.tensor(weight / total, dtype=torch.float32)
            self._voters.append((network, share, torch.tensor(bias, dtype=torch.float32)))

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        scores = [
            share * torch.log(functional.softmax(network(x) - bias, 1) + FLOOR)
            for network, share, bias in self._voters
        ]
        return torch.stack(scores).sum(0)
