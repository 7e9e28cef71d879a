"""Networks and a run that the tests of shrinking share: small enough to be taught in a second."""

from __future__ import annotations

from collections import OrderedDict
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from phloem.config import ClientConfig, DataConfig, Experiment, ModelConfig
from phloem.learning import open_learner
from phloem.server.shrink.network import open_network
from phloem.server.shrink.run_folder import TrainedRun
from phloem.sources import open_federation
from phloem.summary import Summary, Traffic

SHAPE = (1, 8, 8)
NO_TRAFFIC = Traffic(0, 0, 0, None)


def normed(seed: int = 0) -> nn.Module:
    """Two convolutions with batch normalisation whose statistics are not those of the start."""
    torch.manual_seed(seed)
    network = nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, 10, 3, padding=1),
            norm1=nn.BatchNorm2d(10),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(10, 20, 3, padding=1),
            norm2=nn.BatchNorm2d(20),
            relu2=nn.ReLU(),
            pool=nn.AvgPool2d(3, ceil_mode=True),
            flatten=nn.Flatten(),
            output=nn.Linear(20 * 9, 10),
        )
    )
    network.train()
    for _ in range(5):
        network(torch.rand(32, *SHAPE) * 2 - 1)
    return network.eval()


def images(count: int, seed: int = 0) -> NDArray[np.float32]:
    """Inputs without a meaning."""
    return np.random.default_rng(seed).random((count, *SHAPE), np.float32)


@lru_cache(maxsize=1)
def trained_run() -> TrainedRun:
    """The digits, and a network of 4,800 weights that was trained on them in one place."""
    experiment = Experiment(
        data=DataConfig(partition="iid", clients=1), model=ModelConfig(name="mlp", hidden=(64,))
    )
    federation = open_federation(experiment.data, 1)
    learner = open_learner(experiment.model, federation.input_shape, federation.classes)
    rule = ClientConfig(epochs=10, batch_size=32, optimizer="adamw", learning_rate=0.005)
    weights = learner.learn(learner.initial(1), federation.shares[0], rule, 1)
    return TrainedRun(
        experiment,
        open_network(experiment.model, federation.input_shape, federation.classes, weights),
        federation.input_shape,
        federation.classes,
        federation.proxy,
        federation.validation,
        federation.test,
        Summary(
            accuracy=None,
            accuracy_mean5=None,
            rounds=1,
            clients=1,
            rejected=0,
            uplink=NO_TRAFFIC,
            downlink=NO_TRAFFIC,
            reference=None,
            seconds=0.0,
            client_updates_per_second=None,
            model_sha256=None,
            ledger_sha256="",
            run_dir="",
        ),
        {},
    )
