"""Flower's records cross the link as they are, and no bytes whatever get anything else out of its reader."""

from __future__ import annotations

import zlib
from contextlib import suppress

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, MetricRecord, RecordDict
from hypothesis import given, settings
from hypothesis import strategies as st

from phloem.errors import ProtocolError
from phloem.link.records import from_content, to_content
from phloem.link.stream import (
    MOST_HEAD_BYTES,
    Deflater,
    Inflater,
    expand_alone,
    parse,
    short_hash,
    squeeze_alone,
)
from phloem.proto import link_pb2

whole = st.integers(-(2**63), 2**64 - 1)
scalars = st.one_of(whole, st.floats(allow_nan=False), st.booleans(), st.text(), st.binary(max_size=200))
values = st.one_of(
    scalars, *(st.lists(kind, max_size=4) for kind in (whole, st.text(), st.binary(), st.booleans()))
)
shapes = st.lists(st.integers(0, 4), max_size=3).map(tuple)
types = st.sampled_from(["float32", "float64", "int8", "uint16", "bool"])
arrays = st.one_of(
    st.tuples(types, shapes).map(lambda made: Array(np.ones(made[1], made[0]))),
    st.binary(max_size=100).map(lambda data: Array("bytes", (len(data),), "phloem.update.v1", data)),
)
records = st.one_of(
    st.dictionaries(st.text(), values, max_size=4).map(ConfigRecord),
    st.dictionaries(st.text(), st.floats(allow_nan=False), max_size=4).map(
        lambda made: MetricRecord(dict(made))
    ),
    st.dictionaries(st.text(), arrays, max_size=3).map(ArrayRecord),
)
contents = st.dictionaries(st.text(), records, max_size=4).map(RecordDict)


@given(contents)
@settings(max_examples=100)
def test_what_is_sent_arrives(content: RecordDict) -> None:
    """Protects every Flower app: names, kinds, order and bits are as they were."""
    head, data = to_content(content)
    found = from_content(link_pb2.Content.FromString(head.SerializeToString()), data)
    assert isinstance(found, RecordDict)
    assert found == content
    assert list(found) == list(content)


def test_an_error_arrives() -> None:
    for error in (Error(7, "why"), Error(-1), Error(0, "")):
        head, data = to_content(error)
        assert from_content(head, data) == error


def test_arrays_travel_without_their_headers() -> None:
    """A plain array costs its numbers, not the 128 bytes that NumPy writes before them."""
    _, [data] = to_content(RecordDict({"a": ArrayRecord([np.zeros((5, 2), "float32")])}))
    assert len(data) == 40


@given(contents, st.data())
@settings(max_examples=200)
def test_damaged_heads_are_refused_or_read(content: RecordDict, draw: st.DataObject) -> None:
    """Hostile bytes raise ProtocolError and nothing else."""
    head, data = to_content(content)
    raw = bytearray(head.SerializeToString() or b"\n")
    for _ in range(3):
        raw[draw.draw(st.integers(0, len(raw) - 1))] = draw.draw(st.integers(0, 255))
    pieces = data[: draw.draw(st.integers(0, len(data) + 1))]
    with suppress(ProtocolError):
        found = link_pb2.Content()
        parse(found, bytes(raw))
        from_content(found, pieces)


@pytest.mark.parametrize("shape", [[2**62, 2**62], [3], [2**63], [2**63] * 100_000])
def test_a_claimed_shape_allocates_nothing(shape: list[int]) -> None:
    """The bytes that came decide, not what is said of them."""
    entry = link_pb2.Array(name="a", dtype="float32", stype="numpy.ndarray", shape=shape, bare=True)
    head = link_pb2.Content(records=[link_pb2.Record(name="r", arrays=link_pb2.Arrays(arrays=[entry]))])
    with pytest.raises(ProtocolError, match="should have"):
        from_content(head, [bytes(16)])


def test_names_cost_their_bytes_once() -> None:
    """Later heads of a stream refer to earlier ones; they still come out whole."""
    deflater, inflater = Deflater(), Inflater()
    heads = [f"a record of a certain name, number {number}".encode() for number in range(5)] + [b"", b"end"]
    pieces = [deflater.squeeze(head) for head in heads]
    assert [inflater.expand(piece) for piece in pieces] == heads
    assert max(map(len, pieces[1:5])) <= 8


@given(st.binary(max_size=300))
def test_torn_streams_are_refused_or_read(piece: bytes) -> None:
    for expand in (Inflater().expand, expand_alone):
        with suppress(ProtocolError):
            assert len(expand(piece)) <= MOST_HEAD_BYTES


def test_a_bomb_stays_small() -> None:
    """A megabyte is the most that comes out, whatever went in."""
    bomb = zlib.compress(bytes(100_000_000), 9, -15)
    with pytest.raises(ProtocolError, match="at most"):
        expand_alone(bomb)
    with pytest.raises(ProtocolError):
        Inflater().expand(bomb)
    assert expand_alone(squeeze_alone(b"settings")) == b"settings"


def test_short_hashes_are_never_zero() -> None:
    """0 says that there is none."""
    assert len({short_hash(bytes([i])) for i in range(256)}) == 256
    assert all(0 < short_hash(bytes([i])) < 2**63 for i in range(256))
