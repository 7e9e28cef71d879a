"""The learner is a pure function of weights, samples, settings and seed, to the bit."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from phloem.client.learner import Learner, open_learner
from phloem.client.models.build import build_model, load_weights, weights_of
from phloem.compression.update import Schema, Update, digest, is_finite
from phloem.config import ClientConfig, DataConfig, DistillConfig, ModelConfig
from phloem.errors import ConfigError, DataError
from phloem.learning import Model, Scores
from phloem.learning import open_learner as open_by_reference
from phloem.seeds import generator
from phloem.sources import Samples, open_federation

MODELS = [
    ModelConfig(hidden=(32,)),
    ModelConfig(name="cnn", channels=(4,), hidden=()),
    ModelConfig(name="users_models:normalised"),
    ModelConfig(name="users_models:two_biases"),
]
SETTINGS: list[dict[str, Any]] = [
    {},
    {"momentum": 0.9, "weight_decay": 1e-3, "proximal": 0.1},
    {"optimizer": "adamw", "learning_rate": 1e-2},
]
ELSEWHERE = """
from phloem.client.learner import open_learner
from phloem.compression.update import digest
from phloem.config import ClientConfig, DataConfig, ModelConfig
from phloem.sources import open_federation

federation = open_federation(DataConfig(), 1)
learner = open_learner(ModelConfig(name="cnn", hidden=(256,)), federation.input_shape, federation.classes)
learned = learner.learn(learner.initial(1), federation.validation, ClientConfig(batch_size=64), seed=5)
print(digest(learned))
"""


def samples_of(count: int, seed: int = 1) -> Samples:
    """Make samples whose class shows in their inputs."""
    rng = generator(seed, "samples")
    y = rng.integers(0, 3, count)
    x = rng.normal(size=(count, 1, 8, 8)) + y[:, None, None, None]
    return Samples(x.astype(np.float32), y)


def learner_of(model: ModelConfig = MODELS[0]) -> Learner:
    """Open the learner of a model for such samples."""
    return open_learner(model, (1, 8, 8), 3)


def trained_by_the_book(module: nn.Module, samples: Samples, config: ClientConfig, seed: int) -> Update:
    """Train with torch.optim, in the documented order."""
    rng = np.random.Generator(np.random.PCG64(seed))
    rule = torch.optim.SGD(module.parameters(), lr=config.learning_rate)
    for epoch in range(config.epochs):
        order = rng.permutation(len(samples)) if epoch else np.arange(len(samples))
        for start in range(0, len(samples), config.batch_size):
            batch = samples.take(order[start : start + config.batch_size])
            rule.zero_grad()
            loss = functional.cross_entropy(module(torch.from_numpy(batch.x)), torch.from_numpy(batch.y))
            loss.backward()  # type: ignore[no-untyped-call]
            rule.step()
    return weights_of(module)


def test_learning_is_sgd_in_order_of_arrival_then_shuffled() -> None:
    """Written out with torch.optim, the weights are the same; the last batch may be smaller."""
    model, config, samples = MODELS[0], ClientConfig(epochs=3, batch_size=16), samples_of(40)
    learned = learner_of(model).learn(learner_of(model).initial(1), samples, config, seed=9)
    expected = trained_by_the_book(build_model(model, (1, 8, 8), 3, seed=1), samples, config, seed=9)
    for name, tensor in expected.items():
        np.testing.assert_allclose(learned[name], tensor, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_the_same_call_gives_the_same_bits_whatever_came_between(
    model: ModelConfig, settings: dict[str, Any]
) -> None:
    """Clients share one scratch module; none may find another's traces, nor the caller its arrays changed."""
    learner, config, samples = learner_of(model), ClientConfig(epochs=2, **settings), samples_of(34)
    weights = learner.initial(1)
    before, random = digest(weights), torch.get_rng_state()
    first = learner.learn(weights, samples, config, seed=3)
    learner.learn(first, samples_of(18, seed=2), ClientConfig(), seed=4)
    learner.score(first, samples)
    assert digest(learner.learn(weights, samples, config, seed=3)) == digest(first)
    assert digest(weights) == before != digest(first)
    assert torch.equal(torch.get_rng_state(), random)
    assert Schema.of(first) == learner.schema


def test_another_seed_shuffles_otherwise_but_not_the_first_pass() -> None:
    """The first pass is the stream itself."""
    learner, samples = learner_of(), samples_of(40)
    once, twice = ClientConfig(epochs=1), ClientConfig(epochs=2)
    weights = learner.initial(1)
    digests = [digest(learner.learn(weights, samples, once, seed)) for seed in (1, 2)]
    assert digests[0] == digests[1]
    assert digest(learner.learn(weights, samples, twice, 1)) != digest(
        learner.learn(weights, samples, twice, 2)
    )


@pytest.mark.parametrize("threads", ["1", "2"])
def test_bits_do_not_depend_on_the_process_or_its_threads(root: Path, threads: str) -> None:
    """A simulation with many workers, and a real device, send the same bytes."""
    federation = open_federation(DataConfig(), 1)
    learner = open_learner(ModelConfig(name="cnn", hidden=(256,)), federation.input_shape, federation.classes)
    here = learner.learn(learner.initial(1), federation.validation, ClientConfig(batch_size=64), seed=5)
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    there = subprocess.run(
        [sys.executable, "-c", ELSEWHERE],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert there.stdout.strip() == digest(here)


def test_clients_in_several_threads_do_not_disturb_each_other() -> None:
    """One learner serves a process; each thread has a module of its own."""
    learner, config = learner_of(), ClientConfig(epochs=2)
    weights = learner.initial(1)
    shares = [samples_of(40, seed) for seed in range(8)]
    alone = [digest(learner.learn(weights, share, config, seed=1)) for share in shares]
    with ThreadPoolExecutor(4) as pool:
        together = list(
            pool.map(lambda share: digest(learner.learn(weights, share, config, seed=1)), shares * 4)
        )
    assert together == alone * 4


def test_learning_lowers_the_loss_on_real_digits() -> None:
    """Predict, score and learn along a stream: the model is good on data it has never seen."""
    federation = open_federation(DataConfig(clients=1), 1)
    learner = open_learner(ModelConfig(), federation.input_shape, federation.classes)
    weights = learner.initial(1)
    before = learner.score(weights, federation.test)
    learned = learner.learn(weights, federation.shares[0], ClientConfig(epochs=8), seed=1)
    after = learner.score(learned, federation.test)
    assert before.accuracy < 0.3
    assert after.accuracy > 0.9
    assert after.loss < before.loss


def test_scores_are_mean_cross_entropy_and_hits() -> None:
    """Against the definition, over more samples than are predicted at once."""
    learner, samples = learner_of(), samples_of(2500)
    weights = learner.initial(1)
    logits = learner.logits(weights, samples.x).astype(np.float64)
    likelihood = np.exp(logits - logits.max(1, keepdims=True))
    likelihood /= likelihood.sum(1, keepdims=True)
    scores = learner.score(weights, samples)
    assert scores.loss == pytest.approx(-np.log(likelihood[np.arange(2500), samples.y]).mean(), rel=1e-4)
    assert scores.correct == int((logits.argmax(1) == samples.y).sum())
    assert scores.accuracy == scores.correct / 2500


def test_logits_are_those_of_the_module_in_evaluation_mode() -> None:
    """Dropout is off, and running statistics are used and not changed."""
    model, samples = MODELS[2], samples_of(20)
    learner = learner_of(model)
    weights = learner.learn(learner.initial(1), samples, ClientConfig(), seed=1)
    module = build_model(model, (1, 8, 8), 3, seed=0).eval()
    load_weights(module, weights)
    with torch.inference_mode():
        expected = module(torch.tensor(samples.x)).numpy()
    np.testing.assert_allclose(learner.logits(weights, samples.x), expected, rtol=1e-4, atol=1e-5)


def test_without_samples_nothing_is_learned_and_nothing_scored() -> None:
    """An idle client is a normal client."""
    learner, none = learner_of(), samples_of(0)
    weights = learner.initial(1)
    assert digest(learner.learn(weights, none, ClientConfig(), seed=1)) == digest(weights)
    assert learner.score(weights, none) == Scores(loss=0.0, correct=0, samples=0)
    assert learner.score(weights, none).accuracy == 0
    assert learner.logits(weights, none.x).shape == (0, 3)


def test_parameters_of_one_gradient_and_unused_ones_are_handled() -> None:
    """Equal gradients move equally, weight decay counts once, and what is not used or fixed stays."""
    learner = learner_of(MODELS[3])
    weights = learner.initial(1)
    config = ClientConfig(epochs=1, batch_size=64, weight_decay=0.1, learning_rate=0.1)
    samples = samples_of(30)
    learned = learner.learn(weights, samples, config, seed=1)
    np.testing.assert_array_equal(learned["first"], learned["second"])
    logits = torch.tensor(learner.logits(weights, samples.x))
    gradient = (logits.softmax(1) - functional.one_hot(torch.tensor(samples.y), 3)).mean(0)
    np.testing.assert_allclose(learned["first"], 1 - 0.1 * (gradient.numpy() + 0.1), rtol=1e-4)
    np.testing.assert_array_equal(learned["fixed"], weights["fixed"])
    np.testing.assert_allclose(learned["unused"], 1 - 0.1 * 0.1)


def test_a_batch_that_the_network_cannot_learn_from_is_a_matter_of_configuration() -> None:
    """Batch normalisation has no variance in a last batch of one; the client answers, and does not die."""
    learner = learner_of(MODELS[2])
    with pytest.raises(ConfigError, match=r"learn from 1 samples at once.*`client\.batch_size`"):
        learner.learn(learner.initial(1), samples_of(17), ClientConfig(batch_size=16), seed=1)


def test_imitation_moves_towards_the_teacher_and_is_seeded() -> None:
    """Distillation brings the predictions nearer to the opinion, to the same bits every time."""
    learner, x = learner_of(), samples_of(60).x
    weights = learner.initial(1)
    opinion = np.tile(np.array([0.7, 0.2, 0.1], np.float32), (60, 1))
    config = DistillConfig(steps=40, temperature=2.0, learning_rate=0.01)

    def distance(student: Update) -> float:
        log_student = torch.tensor(learner.logits(student, x) / config.temperature).log_softmax(1)
        return float(functional.kl_div(log_student, torch.tensor(opinion), reduction="batchmean"))

    learned = learner.imitate(weights, x, opinion, config, seed=1)
    assert distance(learned) < distance(weights) / 10
    assert digest(learner.imitate(weights, x, opinion, config, seed=1)) == digest(learned)
    assert digest(learner.imitate(weights, x, opinion, config, seed=2)) != digest(learned)


def test_divergence_shows_in_the_weights() -> None:
    """The learner does not hide it; the codec refuses such a delta."""
    learner = learner_of()
    learned = learner.learn(learner.initial(1), samples_of(64), ClientConfig(learning_rate=1e30), seed=1)
    assert not is_finite(learned)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (Samples(samples_of(4).x, samples_of(4).y + 3), r"Labels should lie in 0\.\.2"),
        (Samples(samples_of(4).x, samples_of(4).y - 3), r"Labels should lie in 0\.\.2"),
        (Samples(samples_of(4).x, samples_of(5).y), "label for each of 4"),
        (Samples(samples_of(4).x[:, :, :7], samples_of(4).y), r"Inputs should be float32 \(n, 1, 8, 8\)"),
        (Samples(samples_of(4).x.astype(np.float64), samples_of(4).y), "Found float64"),
    ],
)
def test_samples_of_another_problem_are_refused(samples: Samples, message: str) -> None:
    """In score and in learn, before torch would say something about an index."""
    learner = learner_of()
    with pytest.raises(DataError, match=message):
        learner.score(learner.initial(1), samples)
    with pytest.raises(DataError, match=message):
        learner.learn(learner.initial(1), samples, ClientConfig(), seed=1)


@pytest.mark.parametrize("device", ["tpu", "cuda:99", "meta:x", ""])
def test_a_device_that_is_not_there_is_refused(device: str) -> None:
    """In one sentence, and before any round."""
    with pytest.raises(ConfigError, match=r"`client.device` should be a device of this machine"):
        open_learner(MODELS[0], (1, 8, 8), 3, device)


def test_the_server_opens_the_same_learner_by_reference() -> None:
    """It may not import the client, and there is one learner a process."""
    model: Model = open_by_reference(MODELS[0], (1, 8, 8), 3)
    assert model is learner_of()
    assert model.classes == 3
