"""The frame around an update's payloads: what it is, and a checksum.

One protobuf message, `proto/update.proto`. Over the payloads it takes at most 64 bytes and 4 a tensor;
5 a tensor for payloads from 2 MiB on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import google_crc32c

from phloem.compression.update import Schema
from phloem.compression.wire import FIXED32, FIXED64, Reader, tag, varint_bytes
from phloem.errors import ConfigError, CorruptUpdate
from phloem.proto import update_pb2 as pb

FORMAT = 1
SEAL_BYTES = 5
HEADER_MOST_BYTES = 64 + 2 * 6  # base and sequence numbers beyond 2**28 take up to six bytes more each
CODEC_MOST_BYTES = 36


@dataclass(frozen=True, slots=True)
class Header:
    """What a frame says about itself: `schema` is a fingerprint, `codec` the name that travels."""

    format: int
    schema: bytes
    codec: str
    base: int
    seq: int


@dataclass(frozen=True, slots=True)
class Frame:
    """One update on the wire, relative to version `base`: one payload a tensor, in the schema's order."""

    schema: bytes
    codec: str
    base: int
    seq: int
    payloads: tuple[bytes, ...]
    format: int = FORMAT


def wire_text(codec: str) -> str:
    """A codec's text as it travels: without spaces, and a long one cut, with a hash for what is missing."""
    text = codec.replace(" ", "")
    if len(text) <= CODEC_MOST_BYTES:
        return text
    ending = "#" + hashlib.sha256(text.encode()).hexdigest()[:8]
    return text[: CODEC_MOST_BYTES - len(ending)] + ending


def pack(frame: Frame) -> bytes:
    """Serialise and seal.

    Raises:
        ConfigError: `base` or `seq` is not a number of 64 bits.
    """
    for key, value in (("base", frame.base), ("seq", frame.seq)):
        if not 0 <= value < 1 << 64:
            raise ConfigError(f"`{key}` of a frame should be in 0..2**64-1. Found {value}.")
    message = pb.Frame(
        format=frame.format,
        schema=int.from_bytes(frame.schema, "little"),
        codec=frame.codec,
        base=frame.base,
        seq=frame.seq,
        payloads=frame.payloads,
    )
    content = message.SerializeToString(deterministic=True)
    return content + _seal(content)


def unpack(blob: bytes, schema: Schema, codec: str, limits: Sequence[int]) -> Frame:
    """Check everything about a frame but the payloads' content; `limits` has each payload's most bytes.

    Raises:
        CorruptUpdate: damaged, not canonical, or not of this schema and codec.
    """
    most = HEADER_MOST_BYTES + sum(1 + varint_bytes(limit) + limit for limit in limits)
    if len(blob) > most:
        raise CorruptUpdate(f"A frame should have at most {most} bytes here. Found {len(blob)}.")
    reader = Reader(_unsealed(blob))
    header = _read_header(reader)
    expected = Header(FORMAT, schema.fingerprint, codec, header.base, header.seq)
    if header != expected:
        raise CorruptUpdate(_difference(header, expected))
    payloads = tuple(reader.block(pb.Frame.PAYLOADS_FIELD_NUMBER, limit) for limit in limits)
    if not reader.done:
        raise CorruptUpdate(f"A frame should end after {len(limits)} payloads. Found more.")
    return Frame(header.schema, header.codec, header.base, header.seq, payloads)


def peek(blob: bytes) -> Header:
    """Read the header alone, whatever the schema and the codec.

    Raises:
        CorruptUpdate: damaged or not canonical.
    """
    return _read_header(Reader(_unsealed(blob)))


def pack_chain(frames: Sequence[bytes]) -> bytes:
    """Join frames that lead from one version to another, in order."""
    return pb.Chain(frames=frames).SerializeToString(deterministic=True)


def unpack_chain(blob: bytes, limit: int) -> list[bytes]:
    """Invert `pack_chain` for at most `limit` frames.

    Raises:
        CorruptUpdate: not canonical, or too many frames.
    """
    reader = Reader(blob)
    frames: list[bytes] = []
    while not reader.done:
        if len(frames) == limit:
            raise CorruptUpdate(f"A chain should have at most {limit} frames. Found more.")
        frames.append(reader.block(pb.Chain.FRAMES_FIELD_NUMBER, len(blob)))
    return frames


def _seal(content: bytes) -> bytes:
    """The last field. Written by hand: protobuf leaves a checksum out that happens to be zero."""
    checksum: int = google_crc32c.value(content)
    return tag(pb.Frame.CRC32C_FIELD_NUMBER, FIXED32) + checksum.to_bytes(4, "little")


def _unsealed(blob: bytes) -> bytes:
    """Everything before the last field, which has to fit."""
    content = blob[:-SEAL_BYTES]
    if blob[-SEAL_BYTES:] != _seal(content):
        raise CorruptUpdate(f"A frame should end with its checksum. Found another in {len(blob)} bytes.")
    return content


def _read_header(reader: Reader) -> Header:
    return Header(
        format=reader.number(pb.Frame.FORMAT_FIELD_NUMBER),
        schema=_read_schema(reader),
        codec=_read_codec(reader),
        base=reader.number(pb.Frame.BASE_FIELD_NUMBER),
        seq=reader.number(pb.Frame.SEQ_FIELD_NUMBER),
    )


def _read_schema(reader: Reader) -> bytes:
    if not reader.has(tag(pb.Frame.SCHEMA_FIELD_NUMBER, FIXED64)):
        raise CorruptUpdate("A frame should name its schema. Found none.")
    return reader.take(8)


def _read_codec(reader: Reader) -> str:
    text = reader.block(pb.Frame.CODEC_FIELD_NUMBER, CODEC_MOST_BYTES)
    if not text.isascii():
        raise CorruptUpdate(f"A codec's name should be ASCII. Found {text!r}.")
    return text.decode("ascii")


def _difference(found: Header, expected: Header) -> str:
    remedy = {
        "format": "Update the older side.",
        "schema": "Sender and receiver need the same model.",
        "codec": "Sender and receiver need the same codec.",
    }
    key = next(key for key in remedy if getattr(found, key) != getattr(expected, key))
    return (
        f"A frame should have {key} {getattr(expected, key)!r}. Found {getattr(found, key)!r}. {remedy[key]}"
    )
