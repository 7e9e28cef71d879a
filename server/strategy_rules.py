"""Flower's own strategies as functions of checked updates: (updates, weights, memory) -> (step, memory).

Each is Flower's class, asked to aggregate a round of messages that are made here, in float64, of updates
that have passed every check, so that none of what ends a run of these classes or slips through them (NaN,
wild weights, other shapes) reaches them. They see updates, not models: the rules are the same for both, and
what a server optimizer remembers goes in and comes out as a value, so that a run can be resumed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Message, Metadata, MetricRecord, RecordDict
from flwr.serverapp.strategy import (
    Bulyan,
    FedAdam,
    FedAvg,
    FedAvgM,
    FedMedian,
    FedTrimmedAvg,
    FedYogi,
    Krum,
    MultiKrum,
)
from flwr.serverapp.strategy.fedopt import FedOpt
from numpy.typing import NDArray

from phloem.compression.update import Update
from phloem.config import ServerConfig

Tensors = Mapping[str, NDArray[np.float64]]

_NOWHERE = Metadata(0, "", 0, 0, "", "", 0.0, 0.0, "train")

SPARES = {
    "fedmedian": lambda n: (n - 1) // 2,
    "fedtrimmedavg": lambda n: (n - 1) // 2,
    "krum": lambda n: (n - 3) // 2,
    "multikrum": lambda n: (n - 3) // 2,
    "bulyan": lambda n: (n - 3) // 4,
}
"""How many hostile updates of n a rule can withstand at most, by its paper."""


def step_of(
    config: ServerConfig,
    updates: Sequence[Update | Tensors],
    weights: Sequence[float],
    memory: Tensors,
    round_number: int,
) -> tuple[Tensors, Tensors]:
    """Return the step that a rule makes of a round's updates, and what its optimizer remembers."""
    strategy = _strategy(config, len(updates))
    zeros = {name: np.zeros(tensor.shape) for name, tensor in updates[0].items()}
    if isinstance(strategy, FedOpt):
        strategy.current_arrays = zeros
        strategy.m_t, strategy.v_t = _part(memory, "m"), _part(memory, "v")
    elif isinstance(strategy, FedAvgM):
        strategy.current_arrays = _record(zeros)
        momentum = _part(memory, "m")
        strategy.momentum_vector = None if momentum is None else [momentum[name] for name in zeros]
    step, _ = strategy.aggregate_train(round_number, list(map(_message, updates, weights)))
    assert step is not None, "a rule is never asked for more than it can do with so many updates"
    found = {name: np.asarray(array.numpy(), np.float64) for name, array in step.items()}
    return found, _memory(strategy, list(zeros))


def _strategy(config: ServerConfig, updates: int) -> FedAvg:
    name, spares = config.aggregation, SPARES.get(config.aggregation)
    hostile = 0 if spares is None else max(0, min(math.ceil(config.hostile * updates), spares(updates)))
    match name:
        case "fedavg":
            return FedAvg()
        case "fedavgm":
            return FedAvgM(server_learning_rate=1.0, server_momentum=config.momentum)
        case "fedadam":
            return FedAdam(eta=config.adaptive_rate, beta_1=config.momentum, beta_2=0.99)
        case "fedyogi":
            return FedYogi(eta=config.adaptive_rate, beta_1=config.momentum, beta_2=0.99)
        case "fedmedian":
            return FedMedian()
        case "fedtrimmedavg":
            return FedTrimmedAvg(beta=(hostile + 0.25) / updates if hostile else 0.0)  # it cuts int(beta * n)
        case "krum":
            return Krum(num_malicious_nodes=hostile)
        case "multikrum":
            return MultiKrum(num_malicious_nodes=hostile, num_nodes_to_select=updates - hostile)
        case "bulyan" if updates < 3:  # of so few none can be told from another
            return FedMedian()
        case "bulyan":
            return Bulyan(num_malicious_nodes=hostile)


def _message(update: Update | Tensors, weight: float) -> Message:
    arrays = _record({name: tensor.astype(np.float64) for name, tensor in update.items()})
    content = RecordDict({"arrays": arrays, "metrics": MetricRecord({"num-examples": weight})})
    make: Any = Message  # the public forms ask for a run, of which this message is no part
    message: Message = make(metadata=_NOWHERE, content=content)
    return message


def _record(tensors: Tensors) -> ArrayRecord:
    return ArrayRecord({name: Array(tensor) for name, tensor in tensors.items()})


def _part(memory: Tensors, kind: str) -> dict[str, NDArray[np.float64]] | None:
    prefix = f"{kind}/"
    found = {name.removeprefix(prefix): t for name, t in memory.items() if name.startswith(prefix)}
    return found or None


def _memory(strategy: FedAvg, names: Sequence[str]) -> Tensors:
    if isinstance(strategy, FedOpt):
        moments = {"m": strategy.m_t or {}, "v": strategy.v_t or {}}
        return {f"{kind}/{name}": tensor for kind, part in moments.items() for name, tensor in part.items()}
    if isinstance(strategy, FedAvgM) and strategy.momentum_vector is not None:
        return {f"m/{name}": t for name, t in zip(names, strategy.momentum_vector, strict=True)}
    return {}
