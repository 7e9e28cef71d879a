"""What a step lowers: each added term is what its paper says, and without any it is the plain loss."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from phloem.client.goal import Goal, Recall
from phloem.client.learner import Learner, open_learner
from phloem.client.tasks import CLASSIFICATION, RECONSTRUCTION, TEMPERATURE
from phloem.compression.update import Update, digest, norm, subtract
from phloem.config import ClientConfig, ModelConfig
from phloem.learning import Past
from phloem.seeds import generator
from phloem.sources import Samples


def samples_of(count: int, seed: int = 1, shift: float = 0.0) -> Samples:
    """Samples whose class shows in their inputs."""
    rng = generator(seed, "samples")
    y = rng.integers(0, 3, count)
    x = rng.normal(size=(count, 1, 8, 8)) + y[:, None, None, None] + shift
    return Samples(x.astype(np.float32), y)


LEARNER: Learner = open_learner(ModelConfig(hidden=(8,)), (1, 8, 8), 3)
WEIGHTS = LEARNER.initial(1)
NEW, OLD = samples_of(12), samples_of(9, seed=2, shift=1.0)


def learned(past: Past = Past(), seed: int = 3, **settings: Any) -> Update:  # noqa: B008
    return LEARNER.learn(WEIGHTS, NEW, ClientConfig(**{"batch_size": 4, **settings}), seed, past)


def tensors(samples: Samples) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor(samples.x), torch.tensor(samples.y)


def test_replay_averages_the_losses_on_new_and_earlier_samples() -> None:
    """Protects the learning rate's meaning: with a strength of 1 the loss is that of one mixed batch."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    recall = Recall(*tensors(OLD), None, 1.0, 0.5, generator(1))
    goal = Goal(CLASSIFICATION, *tensors(NEW), recall)
    again = generator(1).choice(9, 4, replace=False)
    x = torch.tensor(np.concatenate([NEW.x[:4], OLD.x[again]]))
    y = torch.tensor(np.concatenate([NEW.y[:4], OLD.y[again]]))
    expected = functional.cross_entropy(module(x), y)
    assert float(goal(module, slice(0, 4)).detach()) == pytest.approx(float(expected.detach()), rel=1e-5)


def test_der_adds_the_squared_distance_to_the_logits_that_were_kept() -> None:
    """Protects DER++: alpha |z - z_kept|^2 as a mean, beside the replayed loss."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    kept = torch.ones(9, 3)
    with_logits = Goal(CLASSIFICATION, *tensors(NEW), Recall(*tensors(OLD), kept, 1.0, 0.8, generator(1)))
    without = Goal(CLASSIFICATION, *tensors(NEW), Recall(*tensors(OLD), None, 1.0, 0.8, generator(1)))
    drawn = generator(1).choice(9, 9, replace=False)
    distance = (module(torch.tensor(OLD.x[drawn])) - 1).square().mean()
    difference = with_logits(module, slice(0, 12)) - without(module, slice(0, 12))
    assert float(difference.detach()) == pytest.approx(0.8 * float(distance.detach()) / 2, rel=1e-4)


def test_a_teacher_that_agrees_costs_nothing_and_its_pull_does_not_depend_on_a_constant() -> None:
    """Protects LwF: the distance is 0 at the teacher itself, positive elsewhere, and invariant to a shift."""
    outputs = torch.tensor([[1.0, 2.0, -1.0], [0.0, 0.5, 3.0]])
    assert float(CLASSIFICATION.distance(outputs, outputs + 5)) == pytest.approx(0, abs=1e-6)
    other = outputs.flip(1)
    p, q = (torch.softmax(each / TEMPERATURE, 1) for each in (outputs, other))
    expected = TEMPERATURE**2 * (p * (p / q).log()).sum(1).mean()
    assert float(CLASSIFICATION.distance(other, outputs)) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize(
    ("settings", "past"),
    [
        ({"retain": "lwf", "retain_strength": 5.0, "learning_rate": 0.02}, Past()),
        (
            {"retain": "ewc", "retain_strength": 1.0, "learning_rate": 0.02},
            Past(fisher={name: np.full(array.shape, 3.0, np.float32) for name, array in WEIGHTS.items()}),
        ),
    ],
    ids=["lwf", "ewc"],
)
def test_what_retains_keeps_the_model_near_the_last_global_one(settings: dict[str, Any], past: Past) -> None:
    """Protects the meaning of `retain`: the same samples move the model less."""
    plain, held = learned(learning_rate=0.02), learned(past, **settings)
    assert norm(subtract(held, WEIGHTS)) < 0.9 * norm(subtract(plain, WEIGHTS))


def test_ewc_pulls_each_weight_by_its_own_importance() -> None:
    """Protects the diagonal: what did not matter moves freely, what mattered hardly."""
    fisher = {name: np.zeros(array.shape, np.float32) for name, array in WEIGHTS.items()}
    fisher["output.bias"] += 20.0
    moved = subtract(learned(Past(fisher=fisher), retain="ewc", learning_rate=0.02), WEIGHTS)
    free = subtract(learned(learning_rate=0.02), WEIGHTS)
    assert np.abs(moved["output.bias"]).max() < 0.6 * np.abs(free["output.bias"]).max()
    assert np.abs(moved["hidden1.weight"]).max() > 0.6 * np.abs(free["hidden1.weight"]).max()


def test_ewc_cannot_overshoot() -> None:
    """Protects a user who asks for much: at any strength the weights stay near the start, and finite."""
    fisher = {name: np.ones(array.shape, np.float32) for name, array in WEIGHTS.items()}
    moved = norm(subtract(learned(Past(fisher=fisher), retain="ewc", retain_strength=1e6), WEIGHTS))
    assert 0 < moved < 1e-4


def test_the_fisher_diagonal_is_the_mean_of_squared_gradients() -> None:
    """Protects EWC's weights, against the definition, sample by sample; what is fixed has none."""
    found = LEARNER.fisher(WEIGHTS, NEW)
    one = [LEARNER.fisher(WEIGHTS, NEW.take(slice(i, i + 1))) for i in range(len(NEW))]
    for name, array in found.items():
        assert array.shape == WEIGHTS[name].shape
        np.testing.assert_allclose(array, np.mean([each[name] for each in one], 0), rtol=1e-4, atol=1e-9)
    x, y = tensors(NEW.take(slice(0, 1)))
    logits = torch.tensor(LEARNER.logits(WEIGHTS, NEW.x[:1]))
    gradient = (logits.softmax(1) - functional.one_hot(y, 3)).numpy()[0]
    np.testing.assert_allclose(one[0]["output.bias"], gradient**2, rtol=1e-3, atol=1e-8)
    assert len(x) == 1
    fixed = open_learner(ModelConfig(name="users_models:two_biases"), (1, 8, 8), 3)
    assert not fixed.fisher(fixed.initial(1), NEW)["fixed"].any()


@pytest.mark.parametrize(
    "settings",
    [{}, {"replay": "der"}, {"retain": "lwf"}, {"precision": "bfloat16"}, {"optimizer": "adamw"}],
    ids=str,
)
def test_learning_with_a_past_is_a_function_too(settings: dict[str, Any]) -> None:
    """Protects exactly-once: the same past and seed, the same bits; another seed draws otherwise."""
    past = Past(OLD, np.zeros((9, 3), np.float32) if settings else None)
    first = learned(past, **settings)
    LEARNER.learn(first, OLD, ClientConfig(), 9)
    assert digest(learned(past, **settings)) == digest(first)
    assert digest(learned(past, seed=4, **settings)) != digest(first)
    assert digest(learned(**settings)) != digest(first)


def test_an_empty_past_changes_nothing() -> None:
    """Protects the plain client, to the bit."""
    empty = Past(OLD.take(slice(0, 0)))
    assert digest(learned(empty)) == digest(learned()) == digest(learned(precision="float32"))


def test_bfloat16_computes_coarsely_and_keeps_the_weights_fine() -> None:
    """Protects the update: it is float32, near the exact one, and not equal to it."""
    fine, coarse = learned(epochs=8), learned(epochs=8, precision="bfloat16")
    assert all(array.dtype == np.float32 for array in coarse.values())
    apart = norm(subtract(fine, coarse)) / norm(subtract(fine, WEIGHTS))
    assert 0 < apart < 0.1


def test_reconstruction_tells_each_samples_error_and_each_inputs() -> None:
    """Protects what anomaly scores are made of; nothing is classified."""
    x = torch.tensor([[0.0, 0.0], [1.0, 1.0], [3.0, 0.0]])
    outputs, y = torch.zeros(3, 2), torch.tensor([0, 2, 1])
    scores = RECONSTRUCTION.score([(outputs[:2], x[:2], y[:2]), (outputs[2:], x[2:], y[2:])])
    assert scores.errors is not None
    assert scores.squares is not None
    np.testing.assert_allclose(scores.errors, [0, 1, 4.5])
    np.testing.assert_allclose(scores.squares, [[0, 0], [1, 1], [9, 0]])
    assert (scores.correct, scores.samples, scores.predicted) == (0, 3, None)
    assert scores.loss == pytest.approx(5.5 / 3)
    assert float(RECONSTRUCTION.loss(outputs, x, y)) == pytest.approx(scores.loss)
