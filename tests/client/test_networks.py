"""The networks for sequences, text, anomalies and ids learn what they are for, and refuse the rest."""

from __future__ import annotations

import numpy as np
import pytest

from phloem.client.learner import Learner, open_learner
from phloem.client.models.build import build_model
from phloem.compression.codec import codec
from phloem.compression.update import Schema, Update, digest, nmse, subtract
from phloem.config import ClientConfig, ModelConfig
from phloem.errors import ConfigError, DataError
from phloem.sources import Samples

ADAM = ClientConfig(optimizer="adamw", learning_rate=0.01, epochs=6, batch_size=32)
USERS, ITEMS = 300, 500


def waves(count: int, shape: tuple[int, ...], seed: int) -> Samples:
    """Windows of a rising or a falling line, in noise: only their order tells them apart."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, count)
    time = np.linspace(-1, 1, shape[-2])[:, None]
    lines = np.where(y[:, None, None] == 1, time, -time) + 0.3 * rng.normal(size=(count, *shape[-2:]))
    return Samples(lines.reshape(count, *shape).astype(np.float32), y)


def text(count: int, seed: int) -> Samples:
    """Windows of six symbols; the next one is the sum of the last and the third last."""
    x = np.random.default_rng(seed).integers(0, 5, (count, 6))
    return Samples(x.astype(np.float32), (x[:, -1] + x[:, -3]) % 5)


def tastes(count: int, seed: int) -> Samples:
    """Users and items, each with a side; a user likes items of the own side."""
    rng = np.random.default_rng(seed)
    ids = np.stack([rng.integers(0, USERS, count), rng.integers(0, ITEMS, count)], axis=1)
    return Samples(ids.astype(np.float32), (ids[:, 0] % 2 == ids[:, 1] % 2).astype(np.int64))


def trained(learner: Learner, samples: Samples, config: ClientConfig = ADAM, rounds: int = 4) -> Update:
    weights = learner.initial(1)
    for seed in range(rounds):
        weights = learner.learn(weights, samples, config, seed)
    return weights


@pytest.mark.parametrize("shape", [(8, 3), (1, 8, 3)], ids=str)
def test_a_gru_reads_windows_in_order(shape: tuple[int, ...]) -> None:
    """Protects speech and motion: what a mean over time cannot tell, the last state can."""
    learner = open_learner(ModelConfig(name="gru", width=8, hidden=(), layers=2), shape, 2)
    weights = trained(learner, waves(200, shape, 1), rounds=2)
    assert learner.score(weights, waves(100, shape, 2)).accuracy > 0.9


def test_a_transformer_learns_what_two_symbols_together_mean() -> None:
    """Protects next-character models: places and symbols both count."""
    learner = open_learner(ModelConfig(name="transformer", width=32, heads=4), (6,), 5)
    weights = trained(learner, text(600, 1), rounds=4)
    assert learner.score(weights, text(200, 2)).accuracy > 0.9


def test_an_autoencoder_rebuilds_what_it_knows_better_than_what_it_does_not() -> None:
    """Protects anomaly detection: a point off the line it learned has the larger error."""
    line = np.linspace(-1, 1, 200)[:, None] * np.array([[1, -1, 0.5, 2]])
    normal = Samples(line.astype(np.float32), np.zeros(200, np.int64))
    learner = open_learner(ModelConfig(name="autoencoder", hidden=(8, 2)), (4,), 2)
    weights = trained(learner, normal, rounds=8)
    off = Samples((line[:, ::-1] * np.array([[-1, 1, 1, 1]])).astype(np.float32), np.ones(200, np.int64))
    assert learner.score(weights, normal).loss < 0.2 * learner.score(weights, off).loss


def test_an_embedding_learns_likes_and_touches_only_rows_it_saw() -> None:
    """Protects the recommender: it learns, and rows of ids that were not there stay, to the bit."""
    learner = open_learner(ModelConfig(name="embedding", rows=(USERS, ITEMS), width=4, hidden=()), (2,), 2)
    weights = trained(learner, tastes(6000, 1), rounds=1)
    assert learner.score(weights, tastes(500, 2)).accuracy > 0.8
    few = tastes(20, 3)
    for config in (ADAM, ClientConfig(momentum=0.9, proximal=0.1)):
        delta = subtract(learner.learn(weights, few, config, 1), weights)
        for column, table in enumerate(("0", "1")):
            for kind in ("vectors", "biases"):
                rows = np.flatnonzero(np.abs(delta[f"{kind}.{table}.weight"]).sum(1))
                assert set(rows) <= set(few.x[:, column].astype(int))
                assert len(rows)


def test_rdo_pays_for_the_rows_that_were_touched() -> None:
    """Protects the saving: the same numbers, spread over all places, cost half as much again."""
    learner = open_learner(ModelConfig(name="embedding", rows=(900, 1600), width=16, hidden=()), (2,), 2)
    weights = learner.initial(1)
    delta = subtract(learner.learn(weights, tastes(20, 3), ADAM, 1), weights)
    rng = np.random.default_rng(1)
    spread = {name: rng.permutation(array.ravel()).reshape(array.shape) for name, array in delta.items()}
    sizes = []
    for update in (delta, spread):
        blob, _ = codec("rdo:nmse=0.05").encode(update)
        assert nmse(update, codec("rdo:nmse=0.05").decode(blob, Schema.of(update))) <= 0.051
        sizes.append(len(blob))
    assert 1.5 * sizes[0] < sizes[1] < learner.schema.dense_bytes / 20


@pytest.mark.parametrize(
    ("config", "shape"),
    [
        (ModelConfig(name="gru", width=8, layers=2), (6, 3)),
        (ModelConfig(name="transformer", width=8, heads=2, layers=2), (6,)),
        (ModelConfig(name="autoencoder", hidden=(8, 2)), (6,)),
        (ModelConfig(name="embedding", rows=(9, 9), width=3, hidden=(4,)), (2,)),
    ],
    ids=lambda value: value.name if isinstance(value, ModelConfig) else "",
)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_they_learn_to_the_bit_in_either_precision(
    config: ModelConfig, shape: tuple[int, ...], precision: str
) -> None:
    """Protects reproducibility of the newer networks, as of the older ones."""
    learner = open_learner(config, shape, 3)
    rng = np.random.default_rng(1)
    samples = Samples(rng.integers(0, 3, (20, *shape)).astype(np.float32), rng.integers(0, 3, 20))
    chosen = ClientConfig(epochs=2, learning_rate=0.1, precision=precision)  # type: ignore[arg-type]
    weights = learner.initial(1)
    first = learner.learn(weights, samples, chosen, 1)
    learner.learn(first, samples, chosen, 2)
    assert digest(learner.learn(weights, samples, chosen, 1)) == digest(first) != digest(weights)


@pytest.mark.parametrize(
    ("config", "shape", "message"),
    [
        (ModelConfig(name="gru"), (64,), r"windows \(time, features\)"),
        (ModelConfig(name="gru"), (3, 8, 8), r"windows \(time, features\)"),
        (ModelConfig(name="transformer"), (6, 3), r"windows of symbols"),
        (ModelConfig(name="transformer", width=10, heads=4), (6,), "multiple of `model.heads`"),
        (ModelConfig(name="autoencoder", hidden=()), (6,), "should have a code"),
        (ModelConfig(name="embedding"), (2,), "counts in `model.rows`"),
        (ModelConfig(name="embedding", rows=(3,)), (1,), "two columns of ids"),
        (ModelConfig(name="embedding", rows=(3, 4, 5)), (2,), "Found inputs"),
    ],
)
def test_inputs_they_are_not_for_are_refused(
    config: ModelConfig, shape: tuple[int, ...], message: str
) -> None:
    """Before the first round, with what to do."""
    with pytest.raises(ConfigError, match=message):
        build_model(config, shape, 2, seed=1)


@pytest.mark.parametrize(
    ("config", "shape", "codes"),
    [
        (ModelConfig(name="transformer", width=8, heads=2), (2,), [1, 2]),
        (ModelConfig(name="embedding", rows=(3, 5), width=2), (2,), [3, 4]),
        (ModelConfig(name="embedding", rows=(3, 5), width=2), (2,), [-1, 4]),
    ],
)
def test_codes_outside_the_tables_are_refused(
    config: ModelConfig, shape: tuple[int, ...], codes: list[int]
) -> None:
    """A symbol that the model has no vector for is bad data, not an index error."""
    learner = open_learner(config, shape, 2)
    good = Samples(np.zeros((1, 2), np.float32), np.zeros(1, np.int64))
    assert learner.score(learner.initial(1), good).samples == 1
    bad = Samples(np.array([codes], np.float32), np.zeros(1, np.int64))
    with pytest.raises(DataError, match="should be codes from 0"):
        learner.score(learner.initial(1), bad)
