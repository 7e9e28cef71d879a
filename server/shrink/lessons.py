"""Lessons on unlabelled inputs: a student learns to predict what its teacher predicts.

The loss is T^2 KL(softmax(teacher / T) || softmax(student / T)) (Hinton et al. 2015, arXiv 1503.02531);
the square keeps the gradient's size whatever T is. A server has few inputs and no labels, so every
step draws new ones: mixtures of two, and images moved by a pixel. The teacher answers each, which
says more about it than its answers on the few alone (Beyer et al. 2022, arXiv 2106.05237).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from phloem.seeds import generator
from phloem.server.shrink.network import reproducible


@dataclass(frozen=True)
class Lesson:
    """How long and how a student is taught.

    `mixed` is the share of a batch that are mixtures of two inputs, `moved` how many pixels an image
    may be off in each direction. The learning rate rises over a twentieth of the steps and then falls
    to zero along a cosine.
    """

    steps: int = 400
    batch_size: int = 64
    learning_rate: float = 0.003
    temperature: float = 2.0
    mixed: float = 0.5
    moved: int = 1


def teach(
    student: nn.Module,
    teacher: nn.Module,
    inputs: NDArray[np.float32],
    lesson: Lesson,
    *,
    seed: int,
    labels: NDArray[np.int64] | None = None,
    from_labels: float = 0.0,
) -> None:
    """Train `student` in place towards `teacher` on `inputs`, and leave it ready to predict.

    With labels the loss is a CE + (1 - a) T^2 KL where a is `from_labels`; mixtures have mixed labels.
    The same seed gives the same bits.
    """
    rng = generator(seed, "lesson")
    share = from_labels if labels is not None else 0.0
    trained = [parameter for parameter in student.parameters() if parameter.requires_grad]
    rule = torch.optim.AdamW(trained, lr=lesson.learning_rate, weight_decay=1e-4)
    teacher.eval()
    with reproducible(seed):
        student.train()
        for step in range(lesson.steps):
            for group in rule.param_groups:
                group["lr"] = lesson.learning_rate * _pace(step, lesson.steps)
            x, pairs, mix = draw(inputs, lesson, rng)
            asked = torch.tensor(x)
            with torch.no_grad():
                wanted = teacher(asked)
            answer = student(asked)
            loss = (1 - share) * divergence(answer, wanted, lesson.temperature)
            if labels is not None and share:
                first, second = (torch.tensor(labels[rows]) for rows in pairs)
                weight = torch.tensor(mix)
                loss = (
                    loss
                    + share
                    * (
                        (1 - weight) * functional.cross_entropy(answer, first, reduction="none")
                        + weight * functional.cross_entropy(answer, second, reduction="none")
                    ).mean()
                )
            rule.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            rule.step()
    student.eval()


def divergence(answer: torch.Tensor, wanted: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return T^2 KL(wanted || answer) of logits `(n, classes)`, the mean over the rows."""
    return temperature**2 * functional.kl_div(
        functional.log_softmax(answer / temperature, dim=1),
        functional.log_softmax(wanted / temperature, dim=1),
        reduction="batchmean",
        log_target=True,
    )


def draw(
    inputs: NDArray[np.float32], lesson: Lesson, rng: np.random.Generator
) -> tuple[NDArray[np.float32], tuple[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float32]]:
    """Return a batch of new inputs, the rows each was mixed from, and the second one's share in it."""
    first, second = rng.integers(0, len(inputs), (2, lesson.batch_size))
    mix = rng.random(lesson.batch_size, np.float32)
    mix *= rng.random(lesson.batch_size) < lesson.mixed
    weight = mix.reshape(-1, *[1] * (inputs.ndim - 1))
    x = (1 - weight) * inputs[first] + weight * inputs[second]
    if lesson.moved and x.ndim == 4:  # images: channels, height, width
        x = np.stack([_moved(image, *rng.integers(-lesson.moved, lesson.moved + 1, 2)) for image in x])
    return x, (first, second), mix


def _moved(image: NDArray[np.float32], down: int, right: int) -> NDArray[np.float32]:
    """Return the image `(channels, height, width)` moved, with zeros where nothing came from."""
    moved = np.zeros_like(image)
    height, width = image.shape[1:]
    to_rows, from_rows = (
        slice(max(down, 0), height + min(down, 0)),
        slice(max(-down, 0), height - max(down, 0)),
    )
    to_columns, from_columns = (
        slice(max(right, 0), width + min(right, 0)),
        slice(max(-right, 0), width - max(right, 0)),
    )
    moved[:, to_rows, to_columns] = image[:, from_rows, from_columns]
    return moved


def _pace(step: int, steps: int) -> float:
    """Return the share of the learning rate at a step."""
    warm = max(1, steps // 20)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))
