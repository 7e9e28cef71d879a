"""The folder that a device's owner gets: the model in ONNX, float and int8, its weights, and its card.

model.onnx  model.int8.onnx  model.safetensors  card.json  card.md     and, if asked for,
model.shared.onnx, with few values a layer, and model.phloem, what a search packed
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnx
from safetensors.numpy import save
from torch import nn

from phloem.errors import ConfigError
from phloem.server.shrink.card import UNSTATED, markdown, of_run
from phloem.server.shrink.codebook import with_codebooks
from phloem.server.shrink.graph import to_onnx
from phloem.server.shrink.int8 import Tried, quantise
from phloem.server.shrink.network import parameters, weights_of
from phloem.server.shrink.quality import agreement, quality
from phloem.server.shrink.recipe import Shrunk, Wishes, measured, rounding_lessons, shrink
from phloem.server.shrink.run_folder import TrainedRun
from phloem.server.shrink.session import answers, latency_seconds

FLOAT, SHARED, INT8 = "model.onnx", "model.shared.onnx", "model.int8.onnx"
WEIGHTS, PACKED = "model.safetensors", "model.phloem"
CARD, PAGE = "card.json", "card.md"
ROUNDING_LOSS = 0.003
"""Validation accuracy that int8 may cost before the network is taught to round."""

BATCHES = (1, 64)


@dataclass(frozen=True)
class Package:
    """What was written, and whether validation accuracy fell no further than was allowed."""

    directory: Path
    card: Mapping[str, Any]
    within_budget: bool


@dataclass(frozen=True)
class Graphs:
    """The network that ships and its graphs: float, with tables of values, and in 8 bits with all tried."""

    network: nn.Module
    float32: onnx.ModelProto
    shared: onnx.ModelProto | None = None
    int8: Tried | None = None
    tried: tuple[Tried, ...] = ()
    rounding: str = "not taught"
    """What became of lessons with rounding: `not taught`, `kept`, or `no better` on validation."""

    @property
    def by_file(self) -> dict[str, onnx.ModelProto]:
        """The graphs by the name of their file, the one to use last."""
        shared = {} if self.shared is None else {SHARED: self.shared}
        return {FLOAT: self.float32} | shared | ({} if self.int8 is None else {INT8: self.int8.graph})


def export(
    run: TrainedRun, wishes: Wishes, directory: Path, *, int8: bool = True, licence: str = ""
) -> Package:
    """Shrink the run's model, and write and check everything that ships.

    Every accuracy in the card is what ONNX Runtime computed with the very file. Same run, same wishes: the
    same weights; measured times differ.

    Raises:
        ConfigError: the folder is not new or empty, the model cannot be exported, or the run lacks the data.
    """
    _check_new(directory)
    shrunk = shrink(run, wishes)
    made = graphs_of(shrunk.network, run, wishes, int8=int8)
    files = {name: graph.SerializeToString(deterministic=True) for name, graph in made.by_file.items()}
    files[WEIGHTS] = save(weights_of(made.network))
    if shrunk.searched is not None:
        files[PACKED] = shrunk.searched.data
    card = _card(run, wishes, shrunk, made, files) | {"license": licence or UNSTATED}
    files[CARD], files[PAGE] = (json.dumps(card, indent=2) + "\n").encode(), markdown(card).encode()
    _make(directory)
    for name, data in files.items():
        _write(directory / name, data)
    return Package(directory, card, bool(card["budget"]["kept"]))


def graphs_of(network: nn.Module, run: TrainedRun, wishes: Wishes, *, int8: bool) -> Graphs:
    """Return the network's graphs; where 8 bits cost accuracy, of what it becomes when it learns to round.

    Shared values are the float graph's, whatever the 8-bit one becomes.

    Raises:
        ConfigError: the network cannot be exported, or there are no data to quantise it by.
    """
    graph = to_onnx(network, run.input_shape)
    shared = with_codebooks(graph) if wishes.shared else None
    if not int8:
        return Graphs(network, graph, shared)
    chosen, tried = quantise(graph, run.proxy, run.validation.x)
    if wishes.rounding or _accuracy(run, graph) - _accuracy(run, chosen.graph) > ROUNDING_LOSS:
        learned = rounding_lessons(network, run, wishes)
        again = to_onnx(learned, run.input_shape)
        better, others = quantise(again, run.proxy, run.validation.x)
        gain = _accuracy(run, better.graph) - _accuracy(run, chosen.graph)
        if gain > 0 or (wishes.rounding and gain == 0):
            return Graphs(learned, again, shared, better, tuple(others), "kept")
        return Graphs(network, graph, shared, chosen, tuple(tried), "no better")
    return Graphs(network, graph, shared, chosen, tuple(tried))


def _card(
    run: TrainedRun, wishes: Wishes, shrunk: Shrunk, made: Graphs, files: Mapping[str, bytes]
) -> dict[str, Any]:
    models = {name: _judged(run, graph, made.float32) for name, graph in made.by_file.items()}
    steps = [*shrunk.steps]
    if made.rounding == "kept":
        steps.append(measured("lessons with rounding", made.network, run))
    before = steps[0].validation_accuracy
    worst = min(model["validation"]["accuracy"] for model in models.values()) if before is not None else 0.0
    lost = 0.0 if before is None else 100 * (before - worst)
    return {
        **of_run(run),
        "parameters": parameters(made.network),
        "steps": [asdict(step) for step in steps],
        "search": _search(shrunk),
        "int8": made.int8
        and {
            "variant": made.int8.variant.name,
            "rounding_lessons": made.rounding,
            "tried": {
                one.variant.name: {"agreement": one.agreement, "nmse": one.nmse, "bytes": one.size}
                for one in made.tried
            },
        },
        "models": models,
        "budget": {
            "max_loss_points": wishes.max_loss_points,
            "lost_points": lost,
            "kept": lost <= wishes.max_loss_points,
        },
        "files": {
            name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in files.items()
        },
    }


def _accuracy(run: TrainedRun, graph: onnx.ModelProto) -> float:
    return quality(answers(graph, run.validation.x), run.validation.y).accuracy


def _judged(run: TrainedRun, graph: onnx.ModelProto, reference: onnx.ModelProto) -> dict[str, Any]:
    """Return what a graph scores, how it agrees with the float one on the test set, and how long it takes."""
    found: dict[str, Any] = {"validation": None, "test": None, "agreement_with_float": None}
    for part, samples in (("validation", run.validation), ("test", run.test)):
        if len(samples):
            logits = answers(graph, samples.x)
            found[part] = asdict(quality(logits, samples.y))
            found["agreement_with_float"] = agreement(logits, answers(reference, samples.x))
    x = next((x for x in (run.test.x, run.validation.x, run.proxy) if len(x)), None)
    if x is not None:
        found["latency_seconds"] = {
            f"batch {size}": latency_seconds(graph, x[[i % len(x) for i in range(size)]]) for size in BATCHES
        }
    return found


def _search(shrunk: Shrunk) -> dict[str, Any] | None:
    if shrunk.searched is None:
        return None
    recipe = shrunk.searched.recipe
    return {
        "bits": dict(recipe.bits),
        "channels": dict(recipe.channels),
        "bytes": len(shrunk.searched.data),
    }


def _check_new(directory: Path) -> None:
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ConfigError(
            f"The folder for the export should be new or empty. Found something in {str(directory)!r}. "
            "Name another with -o."
        )


def _make(directory: Path) -> None:
    """Make the folder, once there is something to put into it."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"The folder {str(directory)!r} should be one that can be made. Found: {error.strerror}. "
            "Name another."
        ) from error


def _write(path: Path, data: bytes) -> None:
    """Write, make it last, then give it its name: a file that is there is whole."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
