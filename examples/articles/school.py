"""What every experiment here starts from: data, cut once, and a teacher trained on them with labels.

The teacher is a convolutional network of 58k weights, trained in one place by phloem's own learner.
Everything smaller is made by the server's means: it sees `proxy`, inputs without labels that the teacher
was not trained on, and chooses by `validation`. `test` is only reported.

digits          scikit-learn's 1,797 images of 8x8: 45 % train, 15 % proxy, 15 % validation, 25 % test
fashion_mnist   a subset that two cores can bear: 8,000 train, 4,000 proxy, 2,000 validation, 4,000 test
"""

from __future__ import annotations

import os
from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from torch import nn

from phloem.config import ClientConfig, DataConfig, ModelConfig
from phloem.learning import open_learner
from phloem.seeds import derive, generator
from phloem.server.shrink.lessons import Lesson, Questions, ask
from phloem.server.shrink.network import open_network, predict
from phloem.sources import Federation, Samples, open_federation

DATA = ("digits", "fashion_mnist")
SUBSET = {"train": 8000, "proxy": 4000, "validation": 2000, "test": 4000}
LARGE = 16

AFTER_PRUNING = {"digits": Lesson(steps=300), "fashion_mnist": Lesson(steps=900, learning_rate=0.005)}
STUDENTS = {
    "digits": Lesson(steps=2500, learning_rate=0.01),
    "fashion_mnist": Lesson(steps=2500, learning_rate=0.01),
}


@dataclass(frozen=True)
class School:
    """The data, the teacher, and the seed that both come from."""

    data: str
    seed: int
    federation: Federation
    teacher: nn.Module
    questions: Questions

    @property
    def train(self) -> Samples:
        """What the teacher was trained on."""
        return self.federation.shares[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one input."""
        return self.federation.input_shape

    def accuracy(self, network: nn.Module, part: str = "test") -> float:
        """Return a network's accuracy in percent on the train, validation or test samples."""
        samples = self.train if part == "train" else getattr(self.federation, part)
        return 100 * float((predict(network, samples.x).argmax(1) == samples.y).mean())


@lru_cache(maxsize=1)
def open_school(data: str, seed: int) -> School:
    """Return the data and the trained teacher: the same for the same seed."""
    if data == "digits":
        config = DataConfig(
            partition="iid", clients=1, test_fraction=0.25, validation_fraction=0.15, proxy_fraction=0.15
        )
        federation = open_federation(config, seed)
    else:
        federation = _fashion_mnist(seed)
    model = ModelConfig(name=f"{__name__}:teacher")
    learner = open_learner(model, federation.input_shape, federation.classes)
    weights = learner.initial(seed)
    train = federation.shares[0]
    rates = (
        [0.003] * 14 + [0.001] * 6 + [0.0003] * 4 if data == "digits" else [0.003] * 4 + [0.001, 0.0003] * 2
    )
    for epoch, rate in enumerate(sorted(rates, reverse=True)):
        rule = ClientConfig(epochs=1, batch_size=32, optimizer="adamw", learning_rate=rate)
        order = generator(seed, "epoch", epoch).permutation(len(train))
        weights = learner.learn(weights, train.take(order), rule, derive(seed, "epoch", epoch))
    network = open_network(model, federation.input_shape, federation.classes, weights)
    return School(data, seed, federation, network, ask(network, federation.proxy, seed=seed))


def teacher(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return 3x3 convolutions of 32, 64 and 64 channels, batch-normalised, and a linear layer."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    before, large = input_shape[0], input_shape[1] > LARGE
    for i, channels in enumerate((32, 64, 64), start=1):
        layers[f"conv{i}"] = nn.Conv2d(before, channels, 3, padding=1)
        layers[f"norm{i}"] = nn.BatchNorm2d(channels)
        layers[f"relu{i}"] = nn.ReLU()
        if i > 1 or large:
            layers[f"pool{i}"] = nn.MaxPool2d(2)
        before = channels
    if large:
        layers["average"] = nn.AvgPool2d(2, ceil_mode=True)
    layers["flatten"] = nn.Flatten()
    layers["output"] = nn.Linear(4 * before, classes)
    return nn.Sequential(layers)


def _fashion_mnist(seed: int) -> Federation:
    default = Path(__file__).resolve().parents[3] / "shared" / "data"
    path = Path(os.environ.get("PHLOEM_DATA", default)) / "fashion_mnist.npz"
    if not path.is_file():
        raise SystemExit(f"{path} is not there: set PHLOEM_DATA to the folder that holds fashion_mnist.npz")
    with np.load(path) as file:
        x, y, x_test, y_test = (file[name] for name in ("x_train", "y_train", "x_test", "y_test"))
    order = generator(seed, "subset").permutation(len(x))
    ends = np.cumsum([SUBSET["train"], SUBSET["proxy"], SUBSET["validation"]])
    train, proxy, validation = (_samples(x, y, rows) for rows in np.split(order, ends)[:3])
    test = _samples(x_test, y_test, generator(seed, "test").permutation(len(x_test))[: SUBSET["test"]])
    return Federation((train,), test, validation, proxy.x, 10, (1, 28, 28))


def _samples(x: np.ndarray, y: np.ndarray, rows: np.ndarray) -> Samples:
    return Samples(x[rows, None].astype(np.float32) / np.float32(255), y[rows].astype(np.int64))
