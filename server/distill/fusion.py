"""Ensemble distillation: the clients' models teach the new global model, on proxy samples and some labels.

    client models ─> votes on the questions ─ imitate ─> student, from the average ─> better?  ─> global model

The student starts from the average (Lin et al. 2020, FedDF, arXiv 2006.07242). Validation samples that taught
it nothing decide whether it is kept, so a bad proxy cannot make the global model worse on them.
"""

from __future__ import annotations

from dataclasses import dataclass

from phloem.compression.update import Update
from phloem.config import DistillConfig
from phloem.learning import Model, Scores
from phloem.references import load_reference
from phloem.server.distill.guard import divide, is_better
from phloem.server.distill.questions import NOISE_PER_SAMPLE, noise, questions
from phloem.server.distill.teacher import Teacher
from phloem.sources import Federation, Samples

GENERATE = "phloem.server.distill.generator:generate"
"""Opened when it is used: a server that asks about samples computes no gradient, and loads no torch."""


def open_teacher(model: Model, federation: Federation, config: DistillConfig, *, seed: int) -> Teacher | None:
    """Return a teacher that has heard nobody, or None where nothing is distilled."""
    proxy, validation = federation.proxy, federation.validation
    if not config.enabled or not len(validation) or not (len(proxy) or config.proxy != "given"):
        return None
    if config.proxy == "generator":  # who overflows on real samples is to be found out here, too
        return Teacher(model, validation.x, config.temperature, config.votes, remembers=True)
    if config.proxy == "noise":
        proxy = noise(validation.x, NOISE_PER_SAMPLE * len(validation), seed=seed)
    return Teacher(model, questions(proxy, config.mixup, seed=seed), config.temperature, config.votes)


@dataclass(frozen=True)
class Distilled:
    """The model to go on with, and both candidates' scores on the samples that judged them."""

    model: Update
    kept: bool
    before: Scores
    after: Scores


def distill(
    average: Update, teacher: Teacher, validation: Samples, config: DistillConfig, *, seed: int
) -> Distilled:
    """Return the distilled model where samples that did not teach it find it better, else the average."""
    model, (lessons, judges) = teacher.model, divide(validation, config)
    if teacher.remembers:
        made = load_reference(GENERATE)(average, model, teacher.voters, validation.x, config, seed=seed)
        teacher = teacher.asked(made)
    before = model.score(average, judges)
    if teacher.votes is None:  # on what the generator made, every model that was heard overflows
        return Distilled(average, False, before, before)
    student = model.imitate(average, teacher.proxy, teacher.opinion(), config, seed, lessons)
    after = model.score(student, judges)
    kept = is_better(before, after, judges, config)
    return Distilled(student if kept else average, kept, before, after)
