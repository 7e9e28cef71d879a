"""From the global model to a small one, step by step, each with what it cost and what it kept."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

from torch import nn

from phloem.errors import ConfigError
from phloem.seeds import derive
from phloem.server.shrink.channels import pruned
from phloem.server.shrink.contest import best_student
from phloem.server.shrink.few_levels import round_inputs, round_weights, settle, share_weights
from phloem.server.shrink.lessons import Lesson, Questions, ask, teach
from phloem.server.shrink.lowrank import factorised
from phloem.server.shrink.network import folded, macs, parameters, predict
from phloem.server.shrink.quality import agreement, quality
from phloem.server.shrink.run_folder import TrainedRun
from phloem.server.shrink.trial import Task, Trial, smallest
from phloem.sources import Samples


@dataclass(frozen=True)
class Wishes:
    """What to do to the global model, in this order; what is zero is left out.

    `student` is its share of the global model's weights, `channels` the share that each layer loses, `rank`
    the share of weights that factors keep, `shared` the entries of each layer's codebook, `trials` those of
    the search; `rounding` asks for lessons with rounding before int8, which are given anyway where it costs
    accuracy. `max_loss_points` is how far validation accuracy may fall.
    """

    student: float = 0.0
    channels: float = 0.0
    ranking: str = "l2"
    rank: float = 0.0
    shared: int = 0
    trials: int = 0
    rounding: bool = False
    max_loss_points: float = 1.0
    student_lesson: Lesson = field(default=Lesson(steps=2500, learning_rate=0.01))
    lesson: Lesson = field(default=Lesson(steps=400))
    seed: int = 1

    def __post_init__(self) -> None:
        for name in ("student", "channels", "rank"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(
                    f"`{name}` should be a share below 1. Found {getattr(self, name)}. Use 0.1 for a tenth."
                )
        if self.shared and not 2 <= self.shared <= 256:
            raise ConfigError(
                f"`shared` should be 2..256 values a layer. Found {self.shared}. Use 16 for 4 bits a weight."
            )

    @property
    def any(self) -> bool:
        """Tell whether the float model itself is to change."""
        return bool(self.student or self.channels or self.rank or self.shared or self.trials)


@dataclass(frozen=True)
class Step:
    """The network after a step; accuracies in 0..1, or None where the run has no such samples."""

    name: str
    parameters: int
    macs: int
    validation_accuracy: float | None
    test_accuracy: float | None
    agreement: float | None


@dataclass(frozen=True)
class Shrunk:
    """The network that is left, the steps that led to it, and the searched file if there was a search."""

    network: nn.Module
    steps: tuple[Step, ...]
    searched: Trial | None = None


def shrink(run: TrainedRun, wishes: Wishes) -> Shrunk:
    """Carry out the wishes; the teacher is the global model throughout.

    Raises:
        ConfigError: the run has no proxy to teach on or no validation samples to choose by.
    """
    network, searched = run.network, None
    steps = [measured("global model", network, run)]
    if wishes.any and not (len(run.proxy) and len(run.validation)):
        raise ConfigError(
            "A smaller model is taught on the unlabelled proxy and chosen on validation samples. Found "
            f"{len(run.proxy)} and {len(run.validation)}. Make the run with `data.proxy_fraction` and "
            "`data.validation_fraction`."
        )
    if not wishes.any:
        return Shrunk(folded(network), tuple(steps))
    questions = questions_of(run, wishes)
    if wishes.student:
        network, name = _student(run, questions, wishes)
        steps.append(measured(name, network, run))
    if wishes.channels:
        network = pruned(network, wishes.channels, run.proxy, wishes.ranking, seed=wishes.seed)
        _teach(network, questions, wishes, "channels")
        steps.append(measured(f"without {wishes.channels:.0%} of the channels", network, run))
    if wishes.rank:
        network = factorised(network, wishes.rank)
        _teach(network, questions, wishes, "rank")
        steps.append(measured(f"factors with {wishes.rank:.0%} of the weights", network, run))
    if wishes.shared:
        network = folded(network)
        share_weights(network, wishes.shared)
        _teach(network, questions, wishes, "shared")
        settle(network)
        steps.append(measured(f"{wishes.shared} values a layer", network, run))
    if wishes.trials:
        searched = _searched(network, questions, run, wishes)
        network = searched.network
        steps.append(measured(f"bits and channels, searched in {wishes.trials} trials", network, run))
    return Shrunk(folded(network), tuple(steps), searched)


def rounding_lessons(network: nn.Module, run: TrainedRun, wishes: Wishes) -> nn.Module:
    """Return a copy that has learned to compute with 7-bit weights and 8-bit inputs of its layers."""
    taught = folded(copy.deepcopy(network))
    round_weights(taught, 7)
    hooks = round_inputs(taught, run.proxy)
    _teach(taught, questions_of(run, wishes), wishes, "rounding")
    for hook in hooks:
        hook.remove()
    settle(taught)
    return taught


def questions_of(run: TrainedRun, wishes: Wishes) -> Questions:
    """Return what the global model is asked, for all lessons of an export."""
    return ask(run.network, run.proxy, seed=wishes.seed)


def measured(name: str, network: nn.Module, run: TrainedRun) -> Step:
    """Return the network's figures; the agreement is on validation inputs, which no lesson was about."""
    x = run.validation.x
    same = agreement(predict(network, x), predict(run.network, x)) if len(x) else None
    shipped = folded(network)
    return Step(
        name,
        parameters(shipped),
        macs(shipped, run.input_shape),
        _accuracy(network, run.validation),
        _accuracy(network, run.test),
        same,
    )


def _accuracy(network: nn.Module, samples: Samples) -> float | None:
    return quality(predict(network, samples.x), samples.y).accuracy if len(samples) else None


def _student(run: TrainedRun, questions: Questions, wishes: Wishes) -> tuple[nn.Module, str]:
    task = Task(run.network, questions, run.proxy, run.validation, wishes.student_lesson, wishes.seed)
    name, network = best_student(task, int(wishes.student * parameters(folded(run.network))))
    return network, f"student {name}"


def _teach(network: nn.Module, questions: Questions, wishes: Wishes, purpose: str) -> None:
    teach(network, questions, wishes.lesson, seed=derive(wishes.seed, purpose))


def _searched(network: nn.Module, questions: Questions, run: TrainedRun, wishes: Wishes) -> Trial:
    from phloem.server.shrink.search import search  # needs the extra `tune`

    task = Task(network, questions, run.proxy, run.validation, wishes.lesson, wishes.seed)
    before = quality(predict(run.network, run.validation.x), run.validation.y).accuracy
    least = before - wishes.max_loss_points / 100
    trials = search(task, wishes.trials, least)
    best = max(trials, key=lambda one: (one.validation.accuracy, -len(one.data)))
    return smallest(trials, least) or best
