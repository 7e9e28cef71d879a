"""A made-up but plausible run, written through the ledger's own functions: test data for its readers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from phloem.ledger import (
    Direction,
    Distillation,
    Evaluation,
    Ledger,
    Message,
    Rejection,
    Round,
    Stage,
)

DENSE = 4 * 9_610
EXPERIMENT = """[data]
source = "digits"
partition = "dirichlet:0.3"
clients = 20

[uplink]
codec = "ef | topk:0.05 | linear:4 | zstd"

[downlink]
codec = "topk:0.1 | linear:4 | zstd"

[run]
rounds = 40
seed = 1
"""
DIRECTIONS: tuple[Direction, ...] = ("up", "down")
Sizes = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Story:
    """What is told: how long, how large, how well, and what went wrong."""

    rounds: int = 40
    clients: int = 20
    per_round: int = 10
    final_accuracy: float = 0.951
    compressed: bool = True
    distills: bool = True
    rejects: bool = True


def write_run(folder: Path, story: Story = Story(), *, reference: bool = True) -> Path:
    """Write a run's folder: the ledger, the experiment and, if wanted, the dense reference in it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "experiment.toml").write_text(EXPERIMENT, encoding="utf-8")
    facts = {
        "clients": str(story.clients),
        "seed": "1",
        "command": "phloem simulate experiment.toml",
        "state": "finished",
        "rounds": str(story.rounds),
        "carrier": "LocalGrid",
        "uplink_codec": "ef | topk:0.05 | linear:4 | zstd",
        "downlink_codec": "topk:0.1 | linear:4 | zstd",
        "started_at": "2026-01-05T09:30:00Z",
        "model_sha256": "5e0f" * 16,
        "version_phloem": "0.1.0",
        "version_python": "3.11.7",
        "version_torch": "2.13.0",
        "version_flwr": "1.41.0",
        "version_numpy": "2.3.5",
    }
    with Ledger.create(folder / "run.sqlite", facts) as ledger:
        for client in range(story.clients):
            for direction in DIRECTIONS:
                ledger.record(
                    Message(0, _name(client), direction, "hello", "", 0, 0, 0, 210, None, 0, None, None)
                )
        met: set[int] = set()
        for number in range(1, story.rounds + 1):
            _round(ledger, story, number, met)
            ledger.commit()
    if reference:
        dense = Story(
            story.rounds, story.clients, story.per_round, story.final_accuracy + 0.006, False, False
        )
        write_run(folder / "reference", dense, reference=False)
    return folder


def _round(ledger: Ledger, story: Story, number: int, met: set[int]) -> None:
    rng = np.random.default_rng([7, number])
    chosen = [int(client) for client in sorted(rng.choice(story.clients, story.per_round, replace=False))]
    refused = {chosen[0]} if story.rejects and number % 9 == 4 else set()
    for client in chosen:
        down = _step(story, rng, 0.1) if client in met else _anchor(story)
        ledger.record(*_message(number, _name(client), "down", down))
        ledger.record(*_message(number, _name(client), "up", _step(story, rng, 0.05)))
    met.update(chosen)
    for client in refused:
        ledger.record(
            Rejection(
                number, _name(client), "norm", "The update's norm is 31.2 times the median; 20 is allowed."
            )
        )
    ready = 1 - math.exp(-number / 7)
    accuracy = min(1.0, max(0.0, 0.1 + (story.final_accuracy - 0.1) * ready + rng.normal(0, 0.006)))
    loss = 2.3 * (1 - ready) + 0.2
    ledger.record(
        Round(
            number,
            number,
            story.per_round,
            story.per_round - len(refused),
            len(refused),
            0.31,
            loss,
            accuracy,
        ),
        Evaluation(number, "test", 359, loss, accuracy),
        Evaluation(number, "validation", 179, loss * 1.02, accuracy),
    )
    if story.distills and number % 4 == 0:
        after = min(1.0, accuracy + float(rng.normal(0.004, 0.006)))
        ledger.record(Distillation(number, after >= accuracy, loss, loss * 0.98, accuracy, after))


def _name(client: int) -> str:
    return f"client {client:02d}"


def _anchor(story: Story) -> Sizes:
    if not story.compressed:
        return (("dense", DENSE), ("frame", DENSE + 44))
    return (("dense", DENSE), ("fp16", DENSE // 2), ("zstd", 17_512), ("frame", 17_556))


def _step(story: Story, rng: np.random.Generator, kept: float) -> Sizes:
    if not story.compressed:
        return (("dense", DENSE), ("frame", DENSE + 44))
    values = int(DENSE * kept)
    quantised = values // 8 + 700
    packed = int(quantised * rng.uniform(0.86, 0.95))
    return (
        ("dense", DENSE),
        (f"topk:{kept}", values + 760),
        ("linear:4", quantised),
        ("zstd", packed),
        ("frame", packed + 52),
    )


def _message(number: int, client: str, direction: Direction, sizes: Sizes) -> list[Message | Stage]:
    payload = sizes[-1][1]
    message = Message(
        round=number,
        client=client,
        direction=direction,
        kind="train",
        codec="|".join(stage for stage, _ in sizes[1:-1]) or "dense",
        base=max(0, number - 1),
        seq=number,
        payload_bytes=payload,
        object_bytes=payload + 96,
        wire_bytes=None,
        dense_bytes=DENSE,
        encode_seconds=0.002,
        decode_seconds=0.001,
    )
    steps = [Stage(number, client, direction, i, stage, size) for i, (stage, size) in enumerate(sizes)]
    return [message, *steps]
