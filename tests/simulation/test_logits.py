"""A whole run of unlike networks that exchange logits: it learns, repeats to the bit, and is not broken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message
from safetensors.numpy import load_file

from phloem.client.app import app
from phloem.compression.codec import codec
from phloem.compression.frame import peek
from phloem.compression.update import digest
from phloem.config import Experiment
from phloem.errors import RunError
from phloem.ledger import Evaluation, Ledger, Rejection
from phloem.ledger import Message as Row
from phloem.records import BLOB, STYPE, UPDATE
from phloem.server.app import prepare, serve
from phloem.simulation.grid import LocalGrid
from phloem.simulation.run import resume, simulate
from phloem.summary import summarise
from tests.server.killed import hashes
from tests.server.mischief import Mischief, run

EXPERIMENT = Experiment().with_values(
    {
        "data.clients": 3,
        "model.hidden": 16,
        "exchange.kind": "logits",
        "exchange.models": "mlp hidden=8; mlp hidden=24,12; cnn channels=4 hidden=8",
        "exchange.samples": 60,
        "exchange.steps": 10,
        "exchange.server_steps": 30,
        "uplink.codec": "linear:6 | rans",
        "server.clients_per_round": 2,
        "run.rounds": 5,
        "run.reference": False,
        "run.baselines": "none",
    }
)
SETTING = prepare(EXPERIMENT)
UPLINK = codec(EXPERIMENT.uplink.codec)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate(EXPERIMENT, tmp_path_factory.mktemp("whole") / "run")


def test_the_same_seed_gives_the_same_bits(whole: Path, tmp_path: Path) -> None:
    """Protects comparisons: model and ledger repeat, with unlike networks as with one."""
    assert hashes(simulate(EXPERIMENT, tmp_path / "again")) == hashes(whole)


@pytest.mark.parametrize("at", [("replied", 2), ("committed", 3), ("saved", 3)])
def test_a_run_that_was_broken_off_comes_to_the_same_bits(
    whole: Path, tmp_path: Path, at: tuple[str, int]
) -> None:
    """Protects every client's own network, which only the checkpoint of a simulation knows."""

    class Stop(BaseException):
        pass

    def reach(label: str, round_number: int) -> None:
        if (label, round_number) == at:
            raise Stop

    with pytest.raises(Stop):
        simulate(EXPERIMENT, tmp_path / "run", reach=reach)
    assert hashes(resume(tmp_path / "run")) == hashes(whole)


def test_what_is_saved_and_scored_is_the_servers_own_network(whole: Path) -> None:
    """Protects the report from claiming the clients' accuracy, and `export` from logits."""
    weights = load_file(whole / "model.safetensors")
    assert {name: w.shape for name, w in weights.items()} == {
        t.name: t.shape for t in SETTING.learner.schema.tensors
    }
    assert digest(weights) == summarise(whole).model_sha256
    with Ledger.open(whole / "run.sqlite") as ledger:
        last = ledger.read(Evaluation)[-1]
    assert last.accuracy == SETTING.learner.score(weights, SETTING.federation.test).accuracy


def test_the_ledger_counts_logits(whole: Path) -> None:
    """Protects the bytes: dense is what logits would weigh as float32, and less was sent."""
    dense = 60 * 10 * 4
    with Ledger.open(whole / "run.sqlite") as ledger:
        rows = [row for row in ledger.read(Row) if row.kind == "train"]
    assert {row.dense_bytes for row in rows} == {dense}
    assert all(0 < row.payload_bytes < dense / 3 for row in rows if row.direction == "up")


def test_the_run_without_codecs_beside_it_exchanges_logits_too(tmp_path: Path) -> None:
    """Protects the comparison: dense stands beside the same exchange, not beside another."""
    short = EXPERIMENT.with_values({"run.reference": True, "run.rounds": 2})
    summary = summarise(simulate(short, tmp_path / "run"))
    assert summary.reference is not None
    assert summary.reference.uplink.dense_bytes == summary.uplink.dense_bytes
    assert summary.reference.uplink.payload_bytes > summary.reference.uplink.dense_bytes


def test_unlike_networks_learn_from_each_other(tmp_path: Path) -> None:
    """Protects the point of it all: the server's network, which sees no label, gets far beyond chance."""
    longer = EXPERIMENT.with_values(
        {
            "run.rounds": 8,
            "server.clients_per_round": 0,
            "server.evaluate_every": 8,
            "client.learning_rate": 0.1,
            "model.hidden": 32,
            "exchange.models": "mlp hidden=32; mlp hidden=64; cnn channels=8 hidden=32",
            "exchange.steps": 20,
            "exchange.server_steps": 60,
            "exchange.samples": 0,
        }
    )
    summary = summarise(simulate(longer, tmp_path / "run"))
    assert summary.accuracy is not None
    assert summary.accuracy > 0.4


def test_a_reply_that_comes_twice_counts_once(tmp_path: Path) -> None:
    """Protects exactly once, with logits as with weights."""
    state, ledger = run(lambda number, sent, replies: replies, tmp_path / "honest", EXPERIMENT)
    ledger.close()
    twice, ledger = run(lambda number, sent, replies: [*replies, *replies], tmp_path / "twice", EXPERIMENT)
    ledger.close()
    assert digest(twice.model) == digest(state.model)
    assert digest(twice.deployed) == digest(state.deployed)


def shouting(factor: float) -> Mischief:
    """The first client's words are `factor` times as loud."""

    def mischief(number: int, sent: list[Message], replies: list[Message]) -> list[Message]:
        if number:
            records = replies[0].content.array_records[UPDATE]
            blob = records[BLOB].data
            header = peek(blob)
            said = UPLINK.decode(blob, SETTING.shared)
            loud = {name: np.asarray(factor * tensor, np.float32) for name, tensor in said.items()}
            new, _ = UPLINK.encode(loud, base=header.base, seq=header.seq)
            replies[0].content[UPDATE] = ArrayRecord({BLOB: Array("bytes", (len(new),), STYPE, new)})
        return replies

    return mischief


def test_a_client_that_shouts_is_refused_and_the_others_go_on(tmp_path: Path) -> None:
    """Protects the consensus: no honest word is as far from it."""
    state, ledger = run(shouting(1e4), tmp_path / "run", EXPERIMENT)
    with ledger:
        codes = {row.code for row in ledger.read(Rejection)}
    assert codes == {"change"}
    assert all(np.isfinite(tensor).all() for tensor in state.deployed.values())


def test_a_device_with_other_proxy_samples_is_found_out_at_the_greeting(tmp_path: Path) -> None:
    """Protects from words about other samples, which would look like any others."""
    other = EXPERIMENT.with_values({"exchange.samples": 61})
    grid = LocalGrid(app, 3, other.to_flat())
    with pytest.raises(RunError, match="should have the same model"):
        serve(grid, EXPERIMENT, tmp_path / "run")
