"""A whole simulated run: its bytes are counted right, it repeats bit for bit, and no client can break it."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Context, Message
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import ClientAppCallable
from safetensors.numpy import load_file

from phloem.client.app import greet, train
from phloem.compression.codec import codec
from phloem.compression.frame import Frame, pack, peek
from phloem.compression.update import digest, is_finite
from phloem.config import Experiment
from phloem.errors import ConfigError
from phloem.ledger import Ledger, Rejection
from phloem.protocol import MESSAGE
from phloem.records import BLOB, STYPE, UPDATE
from phloem.server.app import prepare, serve
from phloem.simulation.grid import LocalGrid
from phloem.simulation.run import Progress, simulate
from phloem.summary import REFERENCE_NAME, Summary, summarise

SMALL = Experiment().with_values(
    {
        "data.clients": 5,
        "server.clients_per_round": 3,
        "run.rounds": 4,
        "run.reference": False,
        "model.hidden": 16,
    }
)
SCHEMA = prepare(SMALL).learner.schema


def run(experiment: Experiment, directory: Path) -> Summary:
    return summarise(simulate(experiment, directory))


def test_the_ledger_counts_exactly_the_blobs_on_the_carrier(tmp_path: Path) -> None:
    """An independent tap on the carrier sees the bytes that the ledger says."""
    blobs: list[int] = []

    def tap(message: Message) -> None:
        if message.has_content():
            for record in message.content.array_records.values():
                blobs.extend(len(array.data) for array in record.values())

    summary = summarise(simulate(SMALL, tmp_path / "run", tap=tap))
    assert sum(blobs) == summary.uplink.payload_bytes + summary.downlink.payload_bytes > 0


def test_the_same_seed_gives_the_same_bits_and_another_does_not(tmp_path: Path) -> None:
    """Model and ledger repeat to the bit, times left out."""
    first, again = run(SMALL, tmp_path / "a"), run(SMALL, tmp_path / "b")
    other = run(SMALL.with_values({"run.seed": 2}), tmp_path / "c")
    assert (first.model_sha256, first.ledger_sha256) == (again.model_sha256, again.ledger_sha256)
    assert first.model_sha256 != other.model_sha256
    assert first.ledger_sha256 != other.ledger_sha256


@pytest.mark.parametrize(
    "values",
    [
        {"uplink.codec": "dense", "downlink.codec": "dense", "downlink.anchor": "dense"},
        {"uplink.codec": "ef | lowrank:2 | linear:8 | zstd", "downlink.codec": "linear:8"},
        {"server.distill.enabled": True},
        {"data.partition": "iid", "client.optimizer": "adamw", "client.learning_rate": 0.003},
        {"model.name": "cnn", "model.channels": "4,8", "run.rounds": 2},
        {"data.when_dry": "idle", "client.samples_per_round": 200},
        {"downlink.held_models": 1},
        {
            "data.scenario": "swap:0.6,at=0.4 | stagger:0.3",
            "client.detector": "page_hinkley",
            "client.detector_threshold": 0.5,
            "server.on_drift": "cluster",
            "downlink.held_models": 1,
            "run.rounds": 6,
        },
        {"uplink.allocate": "bandit", "uplink.levels": "ef | topk:0.05 | linear:4; ef | fp16"},
    ],
)
def test_other_settings_run_and_repeat(values: dict[str, object], tmp_path: Path) -> None:
    """What can be configured works, and is as repeatable as the default."""
    experiment = SMALL.with_values(values)
    first, again = run(experiment, tmp_path / "a"), run(experiment, tmp_path / "b")
    assert first.model_sha256 == again.model_sha256 is not None
    assert first.rejected == 0


def test_the_folder_holds_the_run(tmp_path: Path) -> None:
    """Resolved settings, ledger, model: enough to know what was run and to use what came of it."""
    progress: list[Progress] = []
    folder = simulate(
        SMALL.with_values({"run.reference": True}), tmp_path / "run", on_progress=progress.append
    )
    assert {p.name for p in folder.iterdir()} == {
        "experiment.toml",
        "run.sqlite",
        "model.safetensors",
        REFERENCE_NAME,
    }
    assert digest(load_file(folder / "model.safetensors")) == summarise(folder).model_sha256
    summary = summarise(folder)
    assert summary.reference is not None
    assert [p.report.round for p in progress] == [1, 2, 3, 4] * 2
    assert summary.reference.uplink.payload_bytes > 5 * summary.uplink.payload_bytes
    json.dumps(summary.as_dict())


def test_a_used_folder_is_refused(tmp_path: Path) -> None:
    """A run never writes over another."""
    simulate(SMALL.with_values({"run.rounds": 1}), tmp_path / "run")
    with pytest.raises(ConfigError, match="new or empty"):
        simulate(SMALL, tmp_path / "run")


def test_it_learns(tmp_path: Path) -> None:
    """Compressed, non-iid, and still far above chance."""
    summary = run(SMALL.with_values({"run.rounds": 15, "server.clients_per_round": 0}), tmp_path / "run")
    assert summary.accuracy is not None
    assert summary.accuracy > 0.6


Tamper = Callable[[Message], None]


def hostile(tamper: Tamper) -> ClientApp:
    """The ClientApp, whose partition 0 has its replies tampered with."""

    def mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        reply = call_next(message, context)
        if context.node_config["partition-id"] == 0 and message.metadata.message_type == "train":
            tamper(reply)
        return reply

    wrapped = ClientApp(mods=[mod])
    wrapped.train()(train)
    wrapped.query()(greet)
    return wrapped


def put_blob(reply: Message, blob: bytes, stype: str = STYPE) -> None:
    reply.content[UPDATE] = ArrayRecord({BLOB: Array("bytes", (len(blob),), stype, blob)})


def blob_of(reply: Message) -> bytes:
    return reply.content.array_records[UPDATE][BLOB].data


def set_field(name: str, value: object) -> Tamper:
    def tamper(reply: Message) -> None:
        reply.content.config_records[MESSAGE][name] = value  # type: ignore[assignment]

    return tamper


def poisoned(value: float, shape: tuple[int, ...] | None = None) -> Tamper:
    """A frame with a right checksum and numbers, whose tensors are all `value`, of another shape if asked."""

    def tamper(reply: Message) -> None:
        header = peek(blob_of(reply))
        update = {t.name: np.full(shape or t.shape, value, np.float32) for t in SCHEMA.tensors}
        put_blob(reply, codec("dense").encode(update, base=header.base, seq=header.seq)[0])

    return tamper


def nan_frame(reply: Message) -> None:
    """Dense NaNs under a right checksum: no honest encoder gives them."""
    header = peek(blob_of(reply))
    payloads = tuple(np.full(t.size, np.nan, "<f4").tobytes() for t in SCHEMA.tensors)
    put_blob(reply, pack(Frame(header.schema, header.codec, header.base, header.seq, payloads)))


def drop_update(reply: Message) -> None:
    del reply.content[UPDATE]


@pytest.mark.parametrize(
    ("name", "tamper", "code"),
    [
        ("nan", nan_frame, "corrupt"),
        ("wrong shape", poisoned(1.0, (3,)), "corrupt"),
        ("far too large", poisoned(1e30), "change"),
        ("weight 1e30", set_field("samples", 1e30), "protocol"),
        ("weight 2**62", set_field("samples", 2**62), "weight"),
        ("weight negative", set_field("samples", -5), "weight"),
        ("truncated", lambda reply: put_blob(reply, blob_of(reply)[:-3]), "corrupt"),
        ("alien bytes", lambda reply: put_blob(reply, b"\x93NUMPY alien bytes"), "corrupt"),
        ("alien type", lambda reply: put_blob(reply, blob_of(reply), "numpy.ndarray"), "corrupt"),
        ("no update", drop_update, "corrupt"),
        ("somebody else", set_field("client", "1"), "identity"),
        ("another round", set_field("round", 99), "stale"),
        ("replayed number", set_field("seq", 0), "stale"),
        ("loss NaN", set_field("loss", float("nan")), "protocol"),
        ("empty record", lambda reply: reply.content.config_records[MESSAGE].clear(), "protocol"),
        ("no record", lambda reply: reply.content.clear(), "protocol"),
    ],
)
def test_a_bad_reply_is_rejected_and_the_run_goes_on(
    name: str, tamper: Tamper, code: str, tmp_path: Path
) -> None:
    """One hostile client: the run completes, learns from the others, and the ledger names it."""
    experiment = SMALL.with_values({"server.clients_per_round": 0, "uplink.codec": "dense", "run.rounds": 3})
    grid = LocalGrid(hostile(tamper), 5, experiment.to_flat())
    state = serve(grid, experiment, tmp_path / "run")
    assert is_finite(state.model)
    with Ledger.open(tmp_path / "run" / "run.sqlite") as ledger:
        rejections = ledger.read(Rejection)
    assert [(r.round, r.client, r.code) for r in rejections] == [(n, "0", code) for n in (1, 2, 3)]
    assert summarise(tmp_path / "run").rounds == 3


def test_a_broken_client_is_rejected_and_gets_the_model_again(tmp_path: Path) -> None:
    """A client that raised may have lost its memory: it is sent the model in full, and joins in again."""
    calls = 0

    def fail_once(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        nonlocal calls
        if context.node_config["partition-id"] == 0 and message.metadata.message_type == "train":
            calls += 1
            if calls == 2:
                context.state.clear()
                raise OSError("the disk is gone")
        return call_next(message, context)

    wrapped = ClientApp(mods=[fail_once])
    wrapped.train()(train)
    wrapped.query()(greet)
    experiment = SMALL.with_values({"server.clients_per_round": 0})
    serve(LocalGrid(wrapped, 5, experiment.to_flat()), experiment, tmp_path / "run")
    with Ledger.open(tmp_path / "run" / "run.sqlite") as ledger:
        [rejection] = ledger.read(Rejection)
        accepted = ledger.query("SELECT accepted FROM round ORDER BY round")
    assert (rejection.round, rejection.code) == (2, "failure")
    assert accepted == [(5,), (4,), (5,), (5,)]
