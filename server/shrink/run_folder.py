"""A finished run, opened to be shrunk: its settings, its data as the server has them, its trained model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file
from torch import nn

from phloem.config import Experiment, load
from phloem.errors import ConfigError
from phloem.ledger import Ledger
from phloem.server.shrink.network import open_network
from phloem.sources import Samples, open_federation
from phloem.summary import LEDGER_NAME, Summary, summarise

MODEL_NAME, EXPERIMENT_NAME = "model.safetensors", "experiment.toml"

REBUILDS = "autoencoder"


@dataclass(frozen=True)
class TrainedRun:
    """The global model and what the server has: `proxy` without labels, `validation` to choose by."""

    experiment: Experiment
    network: nn.Module
    input_shape: tuple[int, ...]
    classes: int
    proxy: NDArray[np.float32]
    validation: Samples
    test: Samples
    summary: Summary
    facts: dict[str, str]


def open_run(folder: Path) -> TrainedRun:
    """Return the run in a folder.

    Raises:
        ConfigError: the folder is not a run's, or its model does not fit its settings.
    """
    path = folder / MODEL_NAME
    if not (folder / EXPERIMENT_NAME).is_file():
        found = "a folder without it" if folder.is_dir() else "a file" if folder.exists() else "nothing there"
        raise ConfigError(
            f"A run's folder should hold {EXPERIMENT_NAME} and {MODEL_NAME}. Found {found}: {str(folder)!r}. "
            "Name a folder that `phloem simulate` has written."
        )
    if not path.is_file():
        raise ConfigError(
            f"A run that has ended leaves {MODEL_NAME}. Found none in {str(folder)!r}: the run goes on, or "
            f"was interrupted. Wait for it, or end it with `phloem resume {folder}`."
        )
    experiment = load(folder / EXPERIMENT_NAME)
    if experiment.model.name == REBUILDS:
        raise ConfigError(
            f"A model that is exported should tell classes apart. Found an {REBUILDS}, which rebuilds its "
            f"inputs, in {str(folder)!r}. Its weights are in {MODEL_NAME}: take them from there."
        )
    summary = summarise(folder)
    with Ledger.open(folder / LEDGER_NAME) as ledger:
        facts = ledger.facts()
    try:
        weights = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ConfigError(
            f"{path} should hold the weights of the run's model. Found: {error}. Make the run again."
        ) from error
    federation = open_federation(experiment.data, experiment.run.seed)
    network = open_network(experiment.model, federation.input_shape, federation.classes, weights)
    return TrainedRun(
        experiment,
        network,
        federation.input_shape,
        federation.classes,
        federation.proxy,
        federation.validation,
        federation.test,
        summary,
        facts,
    )
