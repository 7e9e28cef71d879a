"""What may happen to a frame on its way, or be done to it: endless variants of it, the same ones every time.

Every variant has a right checksum. Without one, whatever is behind the checksum would never be reached.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from phloem.compression.frame import SEAL_BYTES, Frame, pack
from phloem.compression.wire import BYTES, tag
from phloem.proto import update_pb2 as pb
from tests.compression.cases import resealed

FLOATS = tuple(
    np.array(value, dtype).tobytes()
    for dtype in ("<f4", "<f2")
    for value in (
        np.nan,
        np.inf,
        -np.inf,
        np.finfo(dtype).max,
        -np.finfo(dtype).max,
        np.finfo(dtype).tiny / 2,
    )
)
"""Numbers that are none, or nearly; the upper half of the float32 ones, as scales are, lies within them."""

LENGTHS = (
    0,
    1,
    2,
    0x7F,
    0x80,
    0x3FFF,
    0x4000,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**32,
    2**63 - 1,
    2**63,
    2**64 - 1,
)
TAILS = (b"\x00", b"\xff", b"\x00" * 4, b"\xff" * 9)
CUTS = 16


@dataclass(frozen=True)
class Specimen:
    """An honest frame in parts, and its bytes."""

    frame: Frame
    blob: bytes

    @classmethod
    def of(cls, blob: bytes) -> Specimen:
        """Take a frame apart."""
        message = pb.Frame.FromString(blob)
        schema = message.schema.to_bytes(8, "little")
        frame = Frame(schema, message.codec, message.base, message.seq, tuple(message.payloads))
        assert pack(frame) == blob
        return cls(frame, blob)

    @property
    def content(self) -> bytes:
        """All but the checksum."""
        return self.blob[:-SEAL_BYTES]

    def with_payload(self, place: int, payload: bytes) -> bytes:
        """The frame with one other payload, its length right."""
        payloads = list(self.frame.payloads)
        payloads[place] = payload
        return pack(replace(self.frame, payloads=tuple(payloads)))


def all_of(specimen: Specimen, others: Sequence[Specimen] = ()) -> Iterator[bytes]:
    """Every variant below; `others` are frames of the same schema by other codecs."""
    yield from bytes_altered(specimen)
    yield from ends_cut(specimen)
    yield from payloads_resized(specimen)
    yield from lengths_edited(specimen)
    yield from floats_planted(specimen)
    yield from payloads_swapped(specimen)
    for other in others:
        yield from spliced(specimen, other)


def bytes_altered(specimen: Specimen) -> Iterator[bytes]:
    """Every byte becomes 0, 255, one more, and itself with its lowest or its highest bit turned."""
    content = specimen.content
    for place, byte in enumerate(content):
        for other in sorted({0, 0xFF, byte ^ 1, byte ^ 0x80, (byte + 1) % 256} - {byte}):
            yield resealed(content[:place] + bytes([other]) + content[place + 1 :])


def ends_cut(specimen: Specimen) -> Iterator[bytes]:
    """Every prefix, and the whole with something behind it."""
    content = specimen.content
    for size in range(len(content)):
        yield resealed(content[:size])
    for tail in (*TAILS, tag(pb.Frame.PAYLOADS_FIELD_NUMBER, BYTES) + b"\0", content, specimen.blob):
        yield resealed(content + tail)


def payloads_resized(specimen: Specimen) -> Iterator[bytes]:
    """Every payload at every shorter length and at some longer ones, in a frame that fits it."""
    for place, payload in enumerate(specimen.frame.payloads):
        for size in range(len(payload)):
            yield specimen.with_payload(place, payload[:size])
            if size:
                yield specimen.with_payload(place, payload[size:])
        for tail in (*TAILS, payload):
            if tail:
                yield specimen.with_payload(place, payload + tail)


def lengths_edited(specimen: Specimen) -> Iterator[bytes]:
    """Every payload's length becomes another, in its shortest form and padded; the bytes stay."""
    before = len(pack(replace(specimen.frame, payloads=()))) - SEAL_BYTES
    content = specimen.content
    for payload in specimen.frame.payloads:
        start = before + 1
        end = start + len(varint(len(payload)))
        for length in sorted({*LENGTHS, len(payload) + 1, max(len(payload) - 1, 0)}):
            for written in (varint(length), varint(length, padding=1)):
                if written != content[start:end]:
                    yield resealed(content[:start] + written + content[end:])
        before = end + len(payload)


def floats_planted(specimen: Specimen) -> Iterator[bytes]:
    """A special number at every place of a payload."""
    for place, payload in enumerate(specimen.frame.payloads):
        for pattern in FLOATS:
            for at in range(len(payload) - len(pattern) + 1):
                yield specimen.with_payload(place, payload[:at] + pattern + payload[at + len(pattern) :])


def payloads_swapped(specimen: Specimen) -> Iterator[bytes]:
    """Tensors change places, and get lost or doubled."""
    payloads = specimen.frame.payloads
    for place in range(len(payloads)):
        for other in range(len(payloads)):
            if payloads[other] != payloads[place]:
                yield specimen.with_payload(place, payloads[other])
        for changed in (payloads[:place] + payloads[place + 1 :], (*payloads, payloads[place])):
            yield pack(replace(specimen.frame, payloads=changed))


def spliced(specimen: Specimen, other: Specimen) -> Iterator[bytes]:
    """Each tensor begins as this codec wrote it and ends as another did."""
    for place, payload in enumerate(specimen.frame.payloads):
        foreign = other.frame.payloads[place]
        for cut in sorted({len(payload) * part // CUTS for part in range(CUTS)}):
            yield specimen.with_payload(place, payload[:cut] + foreign[cut:])
            yield specimen.with_payload(place, (payload[:cut] + foreign)[: len(payload)])


def random(specimen: Specimen, seed: int, count: int) -> Iterator[bytes]:
    """Several edits at once, in one payload: bytes set, bits turned, runs copied, removed, repeated."""
    rng = np.random.default_rng(seed)
    places = [place for place, payload in enumerate(specimen.frame.payloads) if payload]
    for _ in range(count if places else 0):
        place = int(rng.choice(places))
        data = bytearray(specimen.frame.payloads[place])
        for _ in range(rng.integers(1, 6)):
            start, end = sorted(int(at) for at in rng.integers(0, len(data) + 1, 2))
            match rng.integers(6):
                case 0 if start < len(data):
                    data[start] = int(rng.integers(256))
                case 1 if start < len(data):
                    data[start] ^= 1 << int(rng.integers(8))
                case 2:
                    data[start:end] = bytes([int(rng.integers(256))]) * (end - start)
                case 3:
                    data[start:end] = rng.bytes(end - start)
                case 4:
                    run = data[start:end]
                    at = int(rng.integers(0, len(data) + 1))
                    data[at : at + len(run)] = run
                case 5:
                    del data[start : min(end, start + 4)]
        yield specimen.with_payload(place, bytes(data))


def varint(value: int, padding: int = 0) -> bytes:
    """Protobuf's number, and with `padding` one that is longer than it has to be."""
    groups = [value >> shift & 0x7F for shift in range(0, max(value.bit_length(), 1), 7)] + [0] * padding
    return bytes([*(group | 0x80 for group in groups[:-1]), groups[-1]])
