"""A frame taken apart: where each of its parts begins, how long it is, and what it says.

For people who look at a file. Unlike a receiver, it needs no schema and no codec, and a wrong checksum is
told, not refused.
"""

from __future__ import annotations

from dataclasses import dataclass

import google_crc32c

from phloem.compression.frame import CODEC_MOST_BYTES, SEAL_BYTES, unpack_chain
from phloem.compression.wire import FIXED32, FIXED64, Reader, tag
from phloem.errors import CorruptUpdate
from phloem.proto import update_pb2 as pb


@dataclass(frozen=True, slots=True)
class Section:
    """`data` are its bytes, tags and lengths included; none where a number is zero, which is left out."""

    name: str
    at: int
    data: bytes
    value: int | str


@dataclass(frozen=True, slots=True)
class Anatomy:
    """A whole frame; `intact` tells whether its checksum is right."""

    sections: tuple[Section, ...]
    intact: bool

    def value(self, name: str) -> int | str:
        """What a section says."""
        return next(section.value for section in self.sections if section.name == name)

    @property
    def payloads(self) -> tuple[Section, ...]:
        """The payloads' sections, in order; the value is the payload's size."""
        return tuple(section for section in self.sections if section.name.startswith("payload "))


def dissect(blob: bytes) -> Anatomy:
    """Find the sections of a frame.

    Raises:
        CorruptUpdate: these bytes are no frame.
    """
    content, seal = blob[:-SEAL_BYTES], blob[-SEAL_BYTES:]
    if not seal.startswith(tag(pb.Frame.CRC32C_FIELD_NUMBER, FIXED32)) or len(seal) < SEAL_BYTES:
        raise CorruptUpdate(
            f"A frame should end with its checksum. Found none in {len(blob)} bytes.{_begins_as(blob)}"
        )
    if count := _chained(blob):
        raise CorruptUpdate(f"A frame should stand alone. Found a chain of {count}. Take them apart first.")
    reader = Reader(content)
    sections: list[Section] = []

    def section(name: str, value: int | str) -> None:
        at = sum(len(before.data) for before in sections)
        sections.append(Section(name, at, content[at : reader.at], value))

    section("format", reader.number(pb.Frame.FORMAT_FIELD_NUMBER))
    if not reader.has(tag(pb.Frame.SCHEMA_FIELD_NUMBER, FIXED64)):
        raise CorruptUpdate("A frame should name its schema. Found none.")
    section("schema", reader.take(8).hex())
    section("codec", _printable(reader.block(pb.Frame.CODEC_FIELD_NUMBER, CODEC_MOST_BYTES)))
    section("base", reader.number(pb.Frame.BASE_FIELD_NUMBER))
    section("seq", reader.number(pb.Frame.SEQ_FIELD_NUMBER))
    count = 0
    while not reader.done:
        section(f"payload {count}", len(reader.block(pb.Frame.PAYLOADS_FIELD_NUMBER, len(content))))
        count += 1
    checksum: int = google_crc32c.value(content)
    found = int.from_bytes(seal[1:], "little")
    sections.append(Section("crc32c", len(content), seal, f"{found:08x}"))
    return Anatomy(tuple(sections), found == checksum)


def _printable(name: bytes) -> str:
    if not name.isascii() or not name.decode("ascii").isprintable():
        raise CorruptUpdate(f"A codec's name should be printable ASCII. Found {name!r}.")
    return name.decode("ascii")


def _begins_as(blob: bytes) -> str:
    """What to say of bytes whose end is not a frame's, if their beginning is one's."""
    reader = Reader(blob)
    try:
        reader.number(pb.Frame.FORMAT_FIELD_NUMBER)
        if not reader.has(tag(pb.Frame.SCHEMA_FIELD_NUMBER, FIXED64)):
            return ""
        reader.take(8)
        name = _printable(reader.block(pb.Frame.CODEC_FIELD_NUMBER, CODEC_MOST_BYTES))
    except CorruptUpdate:
        return ""
    return f" It begins as one, of the codec {name!r}: bytes are missing, or others follow."


def _chained(blob: bytes) -> int:
    """How many frames these bytes are a chain of; 0 if they are none."""
    try:
        return len(unpack_chain(blob, len(blob)))
    except CorruptUpdate:
        return 0
