"""The ClientApp: any message gets an answer, a refused one leaves no trace, and a real one is remembered."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict

from phloem.client import app as client_app
from phloem.client.app import app
from phloem.client.records import read_state
from phloem.compression.codec import codec
from phloem.compression.frame import pack_chain
from phloem.compression.update import Update
from phloem.config import Experiment
from phloem.errors import ConfigError, CorruptUpdate, ProtocolError
from phloem.protocol import (
    HASH_BYTES,
    LONGEST_CHAIN,
    MESSAGE,
    VERSION,
    Greeting,
    Hello,
    Instruction,
    Reply,
    error_code,
    model_hash,
)
from phloem.records import UPDATE, get_blob, put_blob
from phloem.server.app import prepare
from phloem.simulation.grid import FIRST_NODE, LocalGrid

EXPERIMENT = Experiment().with_values(
    {"data.clients": 3, "model.hidden": 4, "downlink.codec": "dense", "downlink.anchor": "dense | zstd"}
)
LEARNER = prepare(EXPERIMENT).learner
BASE = LEARNER.initial(0)
HELLO = Hello(VERSION, LEARNER.schema.fingerprint)
INSTRUCTION = Instruction(1, 0, model_hash(BASE), 0, EXPERIMENT.uplink.codec, 1)


def full(model: Update, version: int = 0) -> bytes:
    return codec("dense | zstd").encode(model, base=version, seq=version)[0]


def message(kind: str, fields: dict[str, Any] | None, blob: bytes | None = None) -> Message:
    content = RecordDict() if fields is None else RecordDict({MESSAGE: ConfigRecord(fields)})
    if blob is not None:
        put_blob(content, blob)
    return Message(content, FIRST_NODE + 1, kind)


def grid(experiment: Experiment = EXPERIMENT) -> LocalGrid:
    return LocalGrid(app, 3, experiment.to_flat())


def ask(carrier: LocalGrid, question: Message) -> Message:
    [reply] = carrier.send_and_receive([question])
    return reply


def train(carrier: LocalGrid, chain: bytes, **changes: Any) -> Message:
    return ask(carrier, message("train", replace(INSTRUCTION, **changes).to_mapping(), chain))


def test_it_greets_with_its_name() -> None:
    """Protects the map from nodes to clients: the partition's number is the name."""
    reply = ask(grid(), message("query", HELLO.to_mapping()))
    greeting = Greeting.from_mapping(dict(reply.content.config_records[MESSAGE]))
    assert greeting.client == "1"
    assert len(greeting.first_hash) == HASH_BYTES


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        (replace(HELLO, protocol=VERSION + 1).to_mapping(), f"Found {VERSION} here, {VERSION + 1} on"),
        (replace(HELLO, schema=bytes(8)).to_mapping(), "Found another schema on the server"),
        ({}, r"Hello should have \['protocol', 'schema'\]\. Found \[\]"),
        (None, "Hello should have"),
        ({**HELLO.to_mapping(), "protocol": "1"}, "should be int"),
    ],
    ids=["another protocol", "another model", "empty", "no record", "a text"],
)
def test_it_refuses_a_server_that_it_cannot_work_with(fields: dict[str, Any] | None, found: str) -> None:
    """Protects both sides from finding out in round 1: the greeting says what differs."""
    reply = ask(grid(), message("query", fields))
    assert reply.error.code == error_code(ProtocolError(""))
    with pytest.raises(ProtocolError, match=found):
        raise ProtocolError(reply.error.reason)


@pytest.mark.parametrize("partition", [3, -1, "1"])
def test_a_node_without_its_place_says_so(partition: int | str) -> None:
    """Protects deployments: a forgotten or mistyped --node-config is named, on the server's side too."""
    carrier = grid()
    carrier.contexts[FIRST_NODE + 1].node_config["partition-id"] = partition
    reply = ask(carrier, message("query", HELLO.to_mapping()))
    assert reply.error.code == error_code(ConfigError(""))
    assert f"Found {partition!r}: start the node with --node-config" in str(reply.error.reason)


def test_it_trains_and_remembers() -> None:
    """Protects the client's life: the answer is a frame, and the Context holds the rest."""
    carrier = grid()
    reply = train(carrier, pack_chain([full(BASE)]))
    fields = Reply.from_mapping(dict(reply.content.config_records[MESSAGE]))
    assert (fields.client, fields.round, fields.seq, fields.held, fields.samples) == ("1", 1, 1, 0, 32)
    blob = get_blob(reply.content)
    assert blob is not None
    codec(INSTRUCTION.codec).decode(blob, LEARNER.schema)
    state = read_state(carrier.contexts[FIRST_NODE + 1].state)
    assert (state.held, state.position, state.seq) == (0, 32, 1)
    assert state.pending is not None
    assert (state.pending.blob, state.pending.reply) == (blob, fields)


def test_the_same_message_again_gets_the_same_answer() -> None:
    """Protects exactly-once: a server that asks again gets the same bytes, and nothing is learned twice."""
    carrier = grid()
    first, again = (train(carrier, pack_chain([full(BASE)])) for _ in range(2))
    assert get_blob(first.content) == get_blob(again.content)
    assert dict(first.content.config_records[MESSAGE]) == dict(again.content.config_records[MESSAGE])


STEP = codec("dense").encode(BASE, base=7, seq=8)[0]
CHAINS = {
    "no chain": (None, ProtocolError),
    "not a chain": (b"\xff\xff\xff\xff", CorruptUpdate),
    "not a frame": (pack_chain([b"alien"]), CorruptUpdate),
    "cut": (pack_chain([full(BASE)])[:-1], CorruptUpdate),
    "nothing": (b"", ProtocolError),
    "a step without its base": (pack_chain([STEP]), ProtocolError),
    "another model": (pack_chain([full(LEARNER.initial(1))]), ProtocolError),
    "another version": (pack_chain([full(BASE, version=9)]), ProtocolError),
    "another codec": (pack_chain([codec("fp16").encode(BASE)[0]]), CorruptUpdate),
    "another schema": (pack_chain([full({"w": BASE["output.bias"]})]), CorruptUpdate),
    "a model twice": (pack_chain([full(BASE), full(BASE)]), ProtocolError),
    "too many frames": (pack_chain([full(BASE)] * (LONGEST_CHAIN + 1)), CorruptUpdate),
}


@pytest.mark.parametrize("name", CHAINS)
def test_a_chain_that_does_not_lead_there_leaves_no_trace(name: str) -> None:
    """Protects the client from a hostile server: an error goes back, and its state is what it was."""
    chain, error = CHAINS[name]
    carrier = grid()
    reply = ask(carrier, message("train", INSTRUCTION.to_mapping(), chain))
    assert reply.error.code == error_code(error(""))
    assert not carrier.contexts[FIRST_NODE + 1].state
    assert train(carrier, pack_chain([full(BASE)])).has_content()


@pytest.mark.parametrize(
    "changes", [{"codec": "topkk"}, {"codec": "ef"}, {"codec": ""}, {"model_hash": b""}, {"version": -5}]
)
def test_an_instruction_that_cannot_be_followed_is_refused(changes: dict[str, Any]) -> None:
    """Protects against a server of another version, or a hostile one: phloem's errors, nothing else."""
    carrier = grid()
    reply = train(carrier, pack_chain([full(BASE)]), **changes)
    assert reply.error.code in (error_code(ProtocolError("")), error_code(ConfigError("")))
    assert not carrier.contexts[FIRST_NODE + 1].state


@pytest.mark.parametrize("fields", [None, {}, {**INSTRUCTION.to_mapping(), "round": "1"}])
def test_a_message_without_its_fields_is_refused(fields: dict[str, Any] | None) -> None:
    """Protects against anything that is no instruction."""
    reply = ask(grid(), message("train", fields, pack_chain([full(BASE)])))
    assert reply.error.code == error_code(ProtocolError(""))


def test_an_array_that_is_no_blob_is_refused() -> None:
    """Protects against plain arrays where a frame should be: they are not taken for one."""
    question = message("train", INSTRUCTION.to_mapping())
    question.content[UPDATE] = ArrayRecord([BASE["output.bias"]])
    assert ask(grid(), question).error.code == error_code(ProtocolError(""))


def test_a_users_own_mistake_is_not_called_the_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects debugging: a KeyError in a model is not reported as a record that the server left out."""

    def broken(*arguments: object) -> None:
        raise KeyError("my layer")

    monkeypatch.setattr(client_app, "train_round", broken)
    reply = train(grid(), pack_chain([full(BASE)]))
    assert reply.error.code < error_code(CorruptUpdate(""))
    assert reply.error.reason == "KeyError: 'my layer'"


def test_training_that_diverges_is_an_error_and_leaves_the_state() -> None:
    """Protects the residual: what is not finite is neither sent nor kept."""
    carrier = grid(EXPERIMENT.with_values({"client.learning_rate": 1e38, "client.weight_decay": 1e38}))
    reply = train(carrier, pack_chain([full(BASE)]))
    assert reply.error.code == error_code(ConfigError(""))
    assert "lower the learning rate" in str(reply.error.reason)
    assert not carrier.contexts[FIRST_NODE + 1].state
