"""The frame: a protobuf message like any other, only stricter, and small."""

from __future__ import annotations

import google_crc32c
import numpy as np
import pytest

from phloem.compression.codec import codec
from phloem.compression.frame import Frame, Header, pack, pack_chain, peek, unpack
from phloem.compression.update import Schema
from phloem.errors import ConfigError, CorruptUpdate
from phloem.proto import update_pb2 as pb
from tests.compression.cases import CODECS, Arrays, usual


def test_any_protobuf_library_reads_it() -> None:
    """The message is the one in update.proto, fields in order, with the checksum of all before it."""
    _, schema = usual()
    blob = pack(Frame(schema.fingerprint, "dense", base=3, seq=2**63, payloads=(b"one", b"")))
    message = pb.Frame.FromString(blob)
    assert message.SerializeToString(deterministic=True) == blob
    assert message.format == 1
    assert message.schema.to_bytes(8, "little") == schema.fingerprint
    assert (message.codec, message.base, message.seq) == ("dense", 3, 2**63)
    assert list(message.payloads) == [b"one", b""]
    assert message.crc32c == google_crc32c.value(blob[:-5])
    assert list(pb.Chain.FromString(pack_chain([blob, b"x"])).frames) == [blob, b"x"]


def test_what_is_packed_is_unpacked() -> None:
    """And `peek` reads the header alone, without knowing schema or codec."""
    _, schema = usual()
    for number in (0, 1, 127, 128, 2**32, 2**64 - 1):
        frame = Frame(schema.fingerprint, "linear:4", base=number, seq=number, payloads=(b"abc", b"x" * 300))
        blob = pack(frame)
        assert unpack(blob, schema, "linear:4", [3, 300]) == frame
        assert peek(blob) == Header(1, schema.fingerprint, "linear:4", number, number)


@pytest.mark.parametrize("number", [-1, 2**64])
def test_numbers_out_of_range(number: int) -> None:
    """A version that does not fit is the sender's mistake, told to the sender."""
    with pytest.raises(ConfigError, match=f"Found {number}"):
        codec("dense").encode({}, base=number)


def test_limits() -> None:
    """A payload over its limit is refused, even where the frame as a whole would fit."""
    _, schema = usual()
    blob = pack(Frame(schema.fingerprint, "dense", base=0, seq=0, payloads=(b"abcd", b"")))
    with pytest.raises(CorruptUpdate, match="at most 3 bytes"):
        unpack(blob, schema, "dense", [3, 9])
    with pytest.raises(CorruptUpdate, match="at most"):
        unpack(blob + bytes(200), schema, "dense", [4, 0])


def test_another_format() -> None:
    """A frame of a later format is refused by its version, with what to do."""
    _, schema = usual()
    blob = pack(Frame(schema.fingerprint, "dense", base=0, seq=0, payloads=(), format=2))
    with pytest.raises(CorruptUpdate, match=r"format 1\. Found 2\. Update the older side"):
        unpack(blob, schema, "dense", [])


@pytest.mark.parametrize("text", [*CODECS, "lowrank:4 | linear:8,per=channel,rounding=stochastic | zstd:19"])
@pytest.mark.parametrize("tensors", [0, 1, 100])
def test_overhead(text: str, tensors: int) -> None:
    """At most 64 bytes and 4 a tensor over the payloads, up to the 268-millionth round."""
    update: Arrays = {f"layer {i}": np.ones((3, 70), np.float32) for i in range(tensors)}
    sender = codec(text)
    blob, _ = sender.encode(update, base=2**28 - 1, seq=2**28 - 1)
    payloads, _ = sender.body.encode(update, Schema.of(update), {}, 0)
    assert len(blob) - sum(len(payload) for payload in payloads) <= 64 + 4 * tensors


def test_overhead_of_large_payloads() -> None:
    """Up to 2 MiB a tensor, 4 bytes do."""
    update = {"w": np.ones((1 << 19) - 1, np.float32), "v": np.ones(1 << 12, np.float32)}
    assert len(codec("dense").encode(update)[0]) - Schema.of(update).dense_bytes <= 64 + 4 * 2
