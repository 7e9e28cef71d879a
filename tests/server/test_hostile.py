"""One hostile client of ten, trained to the end: it costs no accuracy, whatever it sends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message

from phloem.compression.codec import codec
from phloem.compression.frame import Frame, pack, peek
from phloem.config import Experiment
from phloem.ledger import Rejection
from phloem.protocol import MESSAGE
from phloem.records import BLOB, STYPE, UPDATE
from phloem.server.app import prepare
from phloem.summary import summarise
from tests.server.mischief import run

EXPERIMENT = Experiment().with_values(
    {
        "data.clients": 10,
        "data.partition": "iid",
        "model.hidden": 32,
        "uplink.codec": "linear:8",
        "server.clients_per_round": 0,
        "server.aggregation": "multikrum",
        "server.checkpoint_every": 0,
        "run.rounds": 12,
    }
)
SCHEMA = prepare(EXPERIMENT).learner.schema
UPLINK = codec(EXPERIMENT.uplink.codec)
Attack = Callable[[Message], None]


def blob_of(reply: Message) -> bytes:
    return reply.content.array_records[UPDATE][BLOB].data


def put(reply: Message, blob: bytes) -> None:
    reply.content[UPDATE] = ArrayRecord({BLOB: Array("bytes", (len(blob),), STYPE, blob)})


def times(factor: float) -> Attack:
    """Its own update, scaled: coded as an honest one is."""

    def attack(reply: Message) -> None:
        header = peek(blob_of(reply))
        update = {
            name: np.asarray(factor * tensor, np.float32)
            for name, tensor in UPLINK.decode(blob_of(reply), SCHEMA).items()
        }
        put(reply, UPLINK.encode(update, base=header.base, seq=header.seq)[0])

    return attack


def nan(reply: Message) -> None:
    header = peek(blob_of(reply))
    payloads = tuple(np.full(t.size, np.nan, "<f4").tobytes() for t in SCHEMA.tensors)
    put(reply, pack(Frame(header.schema, header.codec, header.base, header.seq, payloads)))


def heavy(reply: Message) -> None:
    reply.content.config_records[MESSAGE]["samples"] = 1e30


def misshapen(reply: Message) -> None:
    header = peek(blob_of(reply))
    update = {t.name: np.ones(3, np.float32) for t in SCHEMA.tensors}
    put(reply, UPLINK.encode(update, base=header.base, seq=header.seq)[0])


ATTACKS: dict[str, tuple[Attack, str | None]] = {
    "NaN": (nan, "corrupt"),
    "weight 1e30": (heavy, "protocol"),
    "scale x1e6": (times(1e6), "change"),
    "wrong shape": (misshapen, "corrupt"),
    "sign flip x10": (times(-10.0), None),
}


def accuracy(attack: Attack, folder: Path, experiment: Experiment = EXPERIMENT) -> tuple[float, list[str]]:
    """Return the mean of the last five evaluations, and what the attacker's replies were refused for."""

    def mischief(number: int, sent: list[Message], replies: list[Message]) -> list[Message]:
        if number:
            attack(replies[0])
        return replies

    _, ledger = run(mischief, folder, experiment)
    with ledger:
        codes = [row.code for row in ledger.read(Rejection)]
    found = summarise(folder).accuracy_mean5
    assert found is not None
    return found, codes


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> float:
    return accuracy(lambda reply: None, tmp_path_factory.mktemp("clean") / "run")[0]


@pytest.mark.parametrize("name", ATTACKS)
def test_one_hostile_client_in_ten_costs_no_accuracy(name: str, clean: float, tmp_path: Path) -> None:
    """Protects the model: the run completes, and is at most a point worse than with ten honest clients."""
    attack, code = ATTACKS[name]
    found, codes = accuracy(attack, tmp_path / "run")
    assert set(codes) <= {code}
    assert len(codes) == (EXPERIMENT.run.rounds if code else 0)
    assert found >= clean - 0.01


def test_without_a_robust_rule_the_flip_that_passes_every_check_owns_the_model(
    clean: float, tmp_path: Path
) -> None:
    """Protects the tests above from proving nothing: the attack is one."""
    experiment = EXPERIMENT.with_values({"server.aggregation": "fedavg"})
    found, _ = accuracy(ATTACKS["sign flip x10"][0], tmp_path / "run", experiment)
    assert found < clean - 0.2


def test_clipping_alone_keeps_the_mean_useful(clean: float, tmp_path: Path) -> None:
    """Protects the plain mean: with no update longer than the median one, a flip is one voice of ten."""
    experiment = EXPERIMENT.with_values({"server.aggregation": "fedavg", "server.clip": 1.0})
    found, _ = accuracy(ATTACKS["sign flip x10"][0], tmp_path / "run", experiment)
    assert found > clean - 0.1
