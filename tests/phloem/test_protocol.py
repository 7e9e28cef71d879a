"""The protocol's messages: what is written is read back, and nothing else gets through."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord

from phloem.compression.update import Schema, digest
from phloem.errors import CodecError, ConfigError, CorruptUpdate, ProtocolError
from phloem.protocol import (
    FULL,
    Delivery,
    Fields,
    Greeting,
    Hello,
    Instruction,
    Receipt,
    Reply,
    client_order,
    error_code,
    model_hash,
)

MESSAGES: list[Fields] = [
    Hello(protocol=1, schema=b"\x00\xff" * 4),
    Greeting(client="partition-7", first_hash=bytes(16)),
    Instruction(
        round=3, version=2, model_hash=b"\x00" * 16, acked_seq=-(2**62), codec="ef | topk:0.1", seed=2**62
    ),
    Reply("7", 3, 4, 2, 32, 1.5, 20, b"\x00\x00\x00\x80", 0.1, 0.0, 1e-9),
    Delivery(version=1, model_hash=b"\xff" * 16, acked_seq=0, steps="linear:6 | zstd"),
    Receipt(held=1, seq=2, codec="fp16"),
]
kinds = pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)


@kinds
def test_a_message_comes_back_from_flowers_record(message: Fields) -> None:
    """Protects the wire: every field survives the record that carries it, in its own type."""
    record = ConfigRecord(message.to_mapping())
    assert type(message).from_mapping(dict(ConfigRecord.inflate(record.deflate()))) == message


@kinds
def test_a_missing_or_unknown_field_is_refused(message: Fields) -> None:
    """Protects against another version of the protocol: no field is guessed, none is passed over."""
    fields = message.to_mapping()
    for name in fields:
        with pytest.raises(ProtocolError, match="should have"):
            type(message).from_mapping({key: value for key, value in fields.items() if key != name})
    with pytest.raises(ProtocolError, match="surprise"):
        type(message).from_mapping({**fields, "surprise": 1})
    with pytest.raises(ProtocolError, match="should have"):
        type(message).from_mapping({})


@kinds
def test_another_type_is_refused(message: Fields) -> None:
    """Protects every use of a field: True is no number, 1 is no 1.0, and a list is nothing at all."""
    fields = message.to_mapping()
    for name, value in fields.items():
        alien: list[Any] = [None, [value], True, 1, 1.0, "1", b"1"]
        for other in alien:
            if type(other) is not type(value):
                with pytest.raises(ProtocolError, match=f"{name} should be {type(value).__name__}"):
                    type(message).from_mapping({**fields, name: other})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_not_finite_is_refused(value: float) -> None:
    """Protects sums over clients: one NaN would make all of them NaN."""
    [reply] = [message for message in MESSAGES if isinstance(message, Reply)]
    with pytest.raises(ProtocolError, match="finite"):
        Reply.from_mapping({**reply.to_mapping(), "loss": value})


def test_clients_are_in_the_order_of_their_numbers() -> None:
    """Protects the sums' last bits: partition ids count upward, names follow by length, then letter."""
    assert sorted(["10", "9", "camera", "0", "lamp", "100"], key=client_order) == [
        "0",
        "9",
        "10",
        "100",
        "lamp",
        "camera",
    ]


def test_an_error_keeps_its_kind_as_a_code() -> None:
    """Protects whoever reads Flower's logs: the kinds are told apart, and from Flower's own codes."""
    errors = [CorruptUpdate(""), ProtocolError(""), ConfigError(""), KeyError("")]
    codes = [error_code(error) for error in errors]
    assert len(set(codes)) == len(codes)
    assert min(codes) >= 1000
    assert error_code(CodecError("")) == error_code(ConfigError(""))


def test_the_hash_is_the_beginning_of_the_digest() -> None:
    """Protects the check after decoding: a bit that differs changes it, the order of tensors does not."""
    model = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros(2, np.float32)}
    assert model_hash(model) == bytes.fromhex(digest(model))[:16]
    assert model_hash(dict(reversed(model.items()))) == model_hash(model)
    assert model_hash({**model, "b": np.array([0.0, -0.0], np.float32)}) != model_hash(model)


def test_a_full_model_is_lossless() -> None:
    """Protects late clients: what they are sent is the server's model bit for bit, zeros' signs included."""
    model = {"w": np.array([0.0, -0.0, 1e-40, 3e38, -1.5], np.float32)}
    blob, _ = FULL.encode(model)
    assert FULL.decode(blob, Schema.of(model))["w"].tobytes() == model["w"].tobytes()
