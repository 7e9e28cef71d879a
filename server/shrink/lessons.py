"""Lessons on unlabelled inputs: a student learns to predict what its teacher predicts.

The loss is T^2 KL(softmax(teacher / T) || softmax(student / T)) (Hinton et al. 2015, arXiv 1503.02531);
the square keeps the gradient's size whatever T is. A server has few inputs and no labels, so it makes
questions of them: mixtures of two, and images moved by a pixel. The teacher answers each, which says more
about it than its answers on the few alone (Beyer et al. 2022, arXiv 2106.05237).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from phloem.seeds import generator
from phloem.server.shrink.network import predict, reproducible

MIXED = 0.5
"""The share of questions that are mixtures of two inputs."""

IMAGES = 4
"""The axes of a batch of images: images, channels, height, width."""

MOVED = 1
"""How many pixels an image may be off in each direction."""


@dataclass(frozen=True)
class Lesson:
    """How long and how a student is taught.

    The learning rate rises over a twentieth of the steps and then falls to zero along a cosine.
    """

    steps: int = 400
    batch_size: int = 64
    learning_rate: float = 0.003
    temperature: float = 2.0


@dataclass(frozen=True)
class Questions:
    """Inputs `(n, ...)` and the teacher's logits `(n, classes)` on them, for any number of students."""

    x: NDArray[np.float32]
    logits: NDArray[np.float32]


def ask(teacher: nn.Module, inputs: NDArray[np.float32], *, count: int = 32_768, seed: int) -> Questions:
    """Return `count` questions made of `inputs`, and the teacher's answers: the same for the same seed."""
    rng = generator(seed, "questions")
    first, second = rng.integers(0, len(inputs), (2, count))
    mix = rng.random(count, np.float32)
    mix *= rng.random(count) < MIXED
    weight = mix.reshape(-1, *[1] * (inputs.ndim - 1))
    x = (1 - weight) * inputs[first] + weight * inputs[second]
    if x.ndim == IMAGES:
        x = _moved(x, rng.integers(-MOVED, MOVED + 1, (2, count)))
    return Questions(x, predict(teacher, x))


def teach(student: nn.Module, questions: Questions, lesson: Lesson, *, seed: int) -> None:
    """Train `student` in place to give the answers, and leave it ready to predict.

    The same seed gives the same bits.
    """
    trained = [parameter for parameter in student.parameters() if parameter.requires_grad]
    rule = torch.optim.AdamW(trained, lr=lesson.learning_rate, weight_decay=1e-4)
    x, wanted = torch.tensor(questions.x), torch.tensor(questions.logits)
    if x.ndim == IMAGES:  # channels last in memory: small convolutions learn up to twice as fast so
        x = x.to(memory_format=torch.channels_last)
        _laid_out(student, torch.channels_last)
    with reproducible(seed):
        student.train()
        for step, batch in enumerate(_batches(len(x), lesson, seed)):
            for group in rule.param_groups:
                group["lr"] = lesson.learning_rate * _pace(step, lesson.steps)
            loss = divergence(student(x[batch]), wanted[batch], lesson.temperature)
            rule.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            rule.step()
    _laid_out(student, torch.contiguous_format)
    student.eval()


def _laid_out(network: nn.Module, order: torch.memory_format) -> None:
    """Lay the network's convolutions out in memory in this order."""
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.ndim == IMAGES:
            tensor.data = tensor.data.contiguous(memory_format=order)


def divergence(answer: torch.Tensor, wanted: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return T^2 KL(wanted || answer) of logits `(n, classes)`, the mean over the rows."""
    return temperature**2 * functional.kl_div(
        functional.log_softmax(answer / temperature, dim=1),
        functional.log_softmax(wanted / temperature, dim=1),
        reduction="batchmean",
        log_target=True,
    )


def _batches(count: int, lesson: Lesson, seed: int) -> Iterator[torch.Tensor]:
    """Yield the rows of each step: pass after pass, each in an order of its own."""
    rng = generator(seed, "batches")
    order = np.zeros(0, np.int64)
    for _ in range(lesson.steps):
        if len(order) < lesson.batch_size:
            order = rng.permutation(count)
        yield torch.tensor(order[: lesson.batch_size])
        order = order[lesson.batch_size :]


def _moved(images: NDArray[np.float32], by: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return images `(n, channels, height, width)` moved by `(2, n)` pixels, with zeros behind them."""
    height, width = images.shape[2:]
    framed = np.pad(images, ((0, 0), (0, 0), (MOVED, MOVED), (MOVED, MOVED)))
    moved = np.empty_like(images)
    for down in range(2 * MOVED + 1):
        for right in range(2 * MOVED + 1):
            rows = (by[0] == down - MOVED) & (by[1] == right - MOVED)
            moved[rows] = framed[rows, :, down : down + height, right : right + width]
    return moved


def _pace(step: int, steps: int) -> float:
    """Return the share of the learning rate at a step."""
    warm = max(1, steps // 20)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))
