"""A model's card: where it comes from, what it cost, how well it predicts, and how to run it.

After Mitchell et al. 2019, "Model cards for model reporting" (arXiv 1810.03993). The JSON holds every
figure; the page is made from it.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Any

import phloem
from phloem.server.shrink.run_folder import TrainedRun
from phloem.units import UNKNOWN, human_bytes

UNSTATED = "not stated"

RUN_IT = """```python
import numpy, onnxruntime
session = onnxruntime.InferenceSession("{file}")
logits = session.run(None, {{"x": x}})[0]  # x: float32 (n, {shape})
```"""


def of_run(run: TrainedRun) -> dict[str, Any]:
    """Return the card's facts about the run."""
    experiment, summary = run.experiment, run.summary
    name = experiment.data.source.partition(":")
    return {
        "card": 1,
        "license": UNSTATED,
        "made_with": {
            "phloem": phloem.__version__,
            "machine": platform.machine(),
            "python": platform.python_version(),
        },
        "data": {
            # A path says where, which is nobody else's business; its last part says what.
            "source": f"{name[0]}:{name[2].rpartition('/')[2]}" if name[1] else name[0],
            "partition": experiment.data.partition,
            "clients": summary.clients,
            "input_shape": list(run.input_shape),
            "classes": run.classes,
            "proxy": len(run.proxy),
            "validation": len(run.validation),
            "test": len(run.test),
            "used": "lessons and calibration: proxy inputs without labels, and mixtures of them; choices: "
            "validation samples; test samples are only reported",
        },
        "training": {
            "model": experiment.model.name,
            "rounds": summary.rounds,
            "rounds_planned": experiment.run.rounds,
            "seed": experiment.run.seed,
            "uplink_codec": experiment.uplink.codec,
            "downlink_codec": experiment.downlink.codec,
            "uplink_bytes": summary.uplink.payload_bytes,
            "downlink_bytes": summary.downlink.payload_bytes,
            "dense_bytes": summary.uplink.dense_bytes + summary.downlink.dense_bytes,
            "last_test_accuracy": summary.accuracy,
            "model_sha256": run.facts.get("model_sha256"),
        },
    }


def markdown(card: Mapping[str, Any]) -> str:
    """Return the card as a page."""
    data, training, models = card["data"], card["training"], card["models"]
    dense, sent = training["dense_bytes"], training["uplink_bytes"] + training["downlink_bytes"]
    file = list(models)[-1]
    lines = [
        f"# Model card: {data['source']}, {card['parameters']:,} weights",
        "",
        f"Licence: {card['license']}. Made with phloem {card['made_with']['phloem']}.",
        "",
        "## Data and training",
        "",
        f"- {data['source']}, {data['classes']} classes, inputs {tuple(data['input_shape'])}, dealt to "
        f"{data['clients']} clients (`{data['partition']}`)",
        f"- {_rounds(training)} federated rounds of `{training['model']}`, seed {training['seed']}; sent "
        f"{human_bytes(training['uplink_bytes'])} up and {human_bytes(training['downlink_bytes'])} down"
        + (f", {dense / sent:.0f}x less than float32" if sent else ""),
        f"- {data['used']} ({data['proxy']}, {data['validation']} and {data['test']} samples)",
        "",
        "## How it was made smaller",
        "",
        "| step | weights | multiplications | validation | test | agrees with the global model |",
        "|---|---:|---:|---:|---:|---:|",
        *(
            f"| {step['name']} | {step['parameters']:,} | {step['macs']:,} "
            f"| {_percent(step['validation_accuracy'])} | {_percent(step['test_accuracy'])} "
            f"| {_percent(step['agreement'])} |"
            for step in card["steps"]
        ),
        "",
        "## What ships",
        "",
        "Accuracies and times are ONNX Runtime's, with these files, on one thread of this machine.",
        "",
        "| file | size | validation | test | ECE | agrees with float | batch 1 | batch 64 |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
        *(_row(name, model, card["files"][name]["bytes"]) for name, model in models.items()),
    ]
    for name in sorted(card["files"].keys() - models.keys()):
        lines.append(f"| {name} | {human_bytes(card['files'][name]['bytes'])} | | | | | | |")
    if card["int8"]:
        lines += [
            "",
            f"int8: {card['int8']['variant']}, the variant that agrees best on validation samples; lessons "
            f"with rounding: {card['int8']['rounding_lessons']}.",
        ]
    budget = card["budget"]
    verdict = "kept" if budget["kept"] else "missed"
    lines += [
        "",
        f"Allowed loss of validation accuracy: {budget['max_loss_points']:g} pt; lost "
        f"{budget['lost_points']:.2f} pt: {verdict}.",
        "",
        *_by_class(models[file]),
        "## Run it",
        "",
        RUN_IT.format(file=file, shape=", ".join(map(str, data["input_shape"]))),
        "",
    ]
    return "\n".join(lines)


def _rounds(training: Mapping[str, Any]) -> str:
    """Return the rounds behind the model, of how many, where the run was exported before its end."""
    done, planned = training["rounds"], training["rounds_planned"]
    return str(done) if done >= planned else f"{done} of {planned}"


def _row(name: str, model: Mapping[str, Any], size: int) -> str:
    validation, test = model["validation"] or {}, model["test"] or {}
    best = test or validation
    times = [f"{1e6 * seconds:,.0f} us" for seconds in model.get("latency_seconds", {}).values()] or ["", ""]
    ece = f"{best['ece']:.3f}" if best else UNKNOWN
    return (
        f"| {name} | {human_bytes(size)} | {_percent(validation.get('accuracy'))} "
        f"| {_percent(test.get('accuracy'))} | {ece} | {_percent(model['agreement_with_float'])} "
        f"| {' | '.join(times)} |"
    )


def _by_class(model: Mapping[str, Any]) -> list[str]:
    scores = model["test"] or model["validation"]
    if not scores:
        return []
    part = "test" if model["test"] else "validation"
    return [
        f"## Accuracy by class ({part}, {scores['samples']} samples)",
        "",
        "| class | " + " | ".join(map(str, range(len(scores["by_class"])))) + " |",
        "|---" * (len(scores["by_class"]) + 1) + "|",
        "| accuracy | " + " | ".join(_percent(one) for one in scores["by_class"]) + " |",
        "",
    ]


def _percent(share: float | None) -> str:
    """Return two decimals: half a point of a tenth matters here."""
    return UNKNOWN if share is None else f"{100 * share:.2f} %"
