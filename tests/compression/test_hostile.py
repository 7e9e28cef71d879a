"""Bytes from anybody: a decoder raises `CorruptUpdate` or gives a finite update of its schema, no more."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from phloem.compression.codec import Codec, codec
from phloem.compression.frame import SEAL_BYTES, Frame, pack, pack_chain, peek, unpack_chain
from phloem.compression.update import Schema, is_finite
from phloem.errors import CorruptUpdate
from tests.compression import mutations
from tests.compression.cases import CODECS, resealed
from tests.compression.mutations import Specimen

RNG = np.random.default_rng(9)
UPDATE = {
    "w": RNG.standard_normal((6, 9), np.float32),
    "b": RNG.standard_normal(5, np.float32),
    "s": np.array(0.5, np.float32),
}
SCHEMA = Schema.of(UPDATE)

over_codecs = pytest.mark.parametrize("text", CODECS)


def survives(receiver: Codec, blob: bytes, schema: Schema = SCHEMA) -> bool:
    """Whether the bytes decode; if they do, to something that can be used."""
    try:
        decoded = receiver.decode(blob, schema)
    except CorruptUpdate:
        return False
    assert Schema.of(decoded) == schema
    assert is_finite(decoded)
    return True


@over_codecs
def test_every_truncation(text: str) -> None:
    """No prefix of a frame is a frame."""
    blob, _ = codec(text).encode(UPDATE, base=1, seq=300)
    for size in range(len(blob)):
        with pytest.raises(CorruptUpdate):
            codec(text).decode(blob[:size], SCHEMA)
    assert survives(codec(text), blob)


@over_codecs
def test_every_altered_byte(text: str) -> None:
    """The checksum sees every change that is no longer than itself."""
    blob, _ = codec(text).encode(UPDATE, base=1, seq=300)
    for place, byte in enumerate(blob):
        for other in {byte ^ 1, byte ^ 0x80, 0, 0xFF, (byte + 1) % 256} - {byte}:
            with pytest.raises(CorruptUpdate):
                codec(text).decode(blob[:place] + bytes([other]) + blob[place + 1 :], SCHEMA)


@over_codecs
def test_every_altered_byte_with_the_right_checksum(text: str) -> None:
    """Whoever can compute a checksum gets no further than one who cannot."""
    for blob in mutations.bytes_altered(Specimen.of(codec(text).encode(UPDATE, base=1, seq=300)[0])):
        survives(codec(text), blob)


@over_codecs
def test_every_truncation_with_the_right_checksum(text: str) -> None:
    """Contents that end early or late are refused by their lengths, not by the checksum."""
    for blob in mutations.ends_cut(Specimen.of(codec(text).encode(UPDATE, base=1, seq=300)[0])):
        assert not survives(codec(text), blob)


@over_codecs
@given(data=st.data())
def test_any_payload(text: str, data: st.DataObject) -> None:
    """Well-framed payloads of any content, of any length up to and just past what is allowed."""
    receiver = codec(text)
    payloads = tuple(
        data.draw(st.binary(max_size=receiver.body.max_payload_bytes(tensor) + 1))
        for tensor in SCHEMA.tensors
    )
    survives(receiver, framed(payloads, receiver))


@over_codecs
def test_payloads_of_one_byte_repeated(text: str) -> None:
    """All zeros and all ones, at every length: what random bytes rarely are."""
    receiver = codec(text)
    honest = [len(p) for p in receiver.body.encode(UPDATE, SCHEMA, {}, 0)[0]]
    for byte in (b"\x00", b"\x01", b"\x7f", b"\x80", b"\xff"):
        for change in range(-min(honest), 3):
            survives(receiver, framed(tuple(byte * (size + change) for size in honest), receiver))


@over_codecs
def test_no_length_but_the_right_one(text: str) -> None:
    """A payload with a byte more or less is refused, though the frame around it is right."""
    receiver = codec(text)
    payloads, _ = receiver.body.encode(UPDATE, SCHEMA, {}, 0)
    for i in range(len(payloads)):
        for wrong in {payloads[i] + b"\0", payloads[i][:-1], b""} - {payloads[i]}:
            assert not survives(receiver, framed((*payloads[:i], wrong, *payloads[i + 1 :]), receiver))


def framed(payloads: tuple[bytes, ...], receiver: Codec, schema: Schema = SCHEMA) -> bytes:
    """A frame that is right in all but, perhaps, its payloads."""
    return pack(Frame(schema.fingerprint, receiver.wire_text, base=0, seq=0, payloads=payloads))


@given(st.binary(max_size=200))
def test_any_bytes(blob: bytes) -> None:
    """Not even the start has to be a frame."""
    for reader in (codec("topk:0.1").decode,):
        with pytest.raises(CorruptUpdate):
            reader(resealed(blob), SCHEMA)
    for read in (lambda: peek(resealed(blob)), lambda: unpack_chain(blob, 10)):
        try:
            read()
        except CorruptUpdate:
            continue


def test_another_schema_or_codec() -> None:
    """A frame for another model or another codec is refused by name, though it would fit."""
    blob, _ = codec("linear:4").encode(UPDATE)
    renamed = {name.upper(): tensor for name, tensor in UPDATE.items()}
    with pytest.raises(CorruptUpdate, match="schema"):
        codec("linear:4").decode(blob, Schema.of(renamed))
    with pytest.raises(CorruptUpdate, match="codec 'linear:8'"):
        codec("linear:8").decode(blob, SCHEMA)


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "text", ["dense", "fp16", "linear:8", "topk:1", "lowrank:2", "zstd", "lowrank:2 | fp16"]
)
def test_what_is_not_finite_does_not_arrive(text: str, special: float) -> None:
    """A special number in any place where a payload holds numbers is refused by the receiver."""
    update = {"w": np.full((6, 9), 1e30, np.float32)}
    patterns = [
        np.float32(special).tobytes(),
        np.float16(special).tobytes(),
        np.float32(special).tobytes()[2:],
    ]
    receiver, schema = codec(text), Schema.of(update)
    if text.endswith("fp16"):
        update["w"] *= np.float32(1e-28)
    (payload,), _ = receiver.body.encode(update, schema, {}, 0)
    for pattern in patterns:
        for place in range(len(payload) - len(pattern) + 1):
            mutated = payload[:place] + pattern + payload[place + len(pattern) :]
            survives(receiver, framed((mutated,), receiver, schema), schema)


def bombs(size: int) -> Iterator[bytes]:
    """Zstandard frames that would become `size` zeros, without the magic number."""
    zeros = bytes(size)
    for window_bits in (10, 23, 27):
        for content_size in (False, True):
            parameters = zstandard.ZstdCompressionParameters.from_level(
                19, window_log=window_bits, write_content_size=content_size
            )
            yield zstandard.ZstdCompressor(compression_params=parameters).compress(zeros)[4:]


@pytest.mark.parametrize("bomb", list(bombs(1 << 24)))
def test_decompression_bombs(bomb: bytes) -> None:
    """16 MiB in a few hundred bytes are refused in the memory of the honest update."""
    schema = Schema.of({"w": np.zeros(2000, np.float32)})
    assert not blows_up(framed((b"\x01" + bomb,), codec("zstd"), schema), codec("zstd"), schema)


@pytest.mark.parametrize(
    "claim", [b"\xc0" + b"\xff" * 7 + b"\x00", b"\x80" + b"\xff" * 4, b"\xe0" + b"\xff" * 7 + b"\x7f"]
)
def test_claimed_content_sizes(claim: bytes) -> None:
    """A squeezed frame that claims a huge content gets no memory for it."""
    schema = Schema.of({"w": np.zeros(2000, np.float32)})
    for flags in (claim, claim[:1] + b"\x00" + claim[1:]):
        blob = framed((b"\x01" + flags + b"\x01\x00\x00",), codec("zstd"), schema)
        assert not blows_up(blob, codec("zstd"), schema)


@pytest.mark.parametrize("claim", [2**7, 2**14, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1])
def test_claimed_lengths(claim: int) -> None:
    """A length in a frame is compared with what the schema allows before anything is made of it."""
    content = codec("dense").encode(UPDATE)[0][:-SEAL_BYTES]
    start = content.index(b"\x32")
    varint = bytearray()
    while claim >= 0x80:
        varint.append(claim & 0x7F | 0x80)
        claim >>= 7
    varint.append(claim)
    blob = resealed(content[:start] + b"\x32" + bytes(varint) + content[start + 3 :])
    assert not blows_up(blob, codec("dense"), SCHEMA)


def test_a_million_empty_payloads() -> None:
    """Fields that cost two bytes each are not turned into a million objects."""
    schema = Schema.of({"w": np.zeros(1_000_000, np.float32)})
    content = codec("dense").encode({"w": np.zeros(0, np.float32)})[0][:-SEAL_BYTES]
    content = content.replace(Schema.of({"w": np.zeros(0, np.float32)}).fingerprint, schema.fingerprint)
    assert not blows_up(resealed(content + b"\x32\x00" * 1_000_000), codec("dense"), schema)
    with pytest.raises(CorruptUpdate, match="at most 3 frames"):
        unpack_chain(b"\x0a\x00" * 1_000_000, 3)


def blows_up(blob: bytes, receiver: Codec, schema: Schema) -> bool:
    """Decode bytes that must be refused; tell whether it took more memory than twice update and input."""
    tracemalloc.start()
    with pytest.raises(CorruptUpdate):
        receiver.decode(blob, schema)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak > 2 * (schema.dense_bytes + len(blob)) + 100_000


def test_numbers_have_one_form() -> None:
    """Padded varints, explicit zeros, fields twice or out of order: one update, one string of bytes."""
    content = codec("dense").encode(UPDATE, base=1)[0][:-SEAL_BYTES]
    assert content[:2] == b"\x08\x01"
    base = content.index(b"\x20\x01\x32")
    for wrong in (
        b"\x08\x81\x00" + content[2:],
        content[2:],
        b"\x08\x00" + content[2:],
        b"\x08\x01" + content,
        content[:base] + b"\x20\x81\x00" + content[base + 2 :],
        content[:base] + b"\x20\x00" + content[base + 2 :],
        content[:base] + b"\x28\x01\x20\x01" + content[base + 2 :],
        content[:base] + b"\x20" + b"\xff" * 9 + b"\x02" + content[base + 2 :],
        content[:base] + b"\x20" + b"\x80" * 10 + b"\x01" + content[base + 2 :],
        content[:base] + b"\x7a\x00" + content[base:],
    ):
        assert not survives(codec("dense"), resealed(wrong))
    assert survives(codec("dense"), resealed(content))


def test_chains() -> None:
    """A chain gives back its frames; anything that is not one is refused."""
    frames = [codec("dense").encode(UPDATE, base=i, seq=i + 1)[0] for i in range(3)]
    chain = pack_chain(frames)
    assert unpack_chain(chain, 3) == frames
    assert unpack_chain(pack_chain([]), 3) == []
    with pytest.raises(CorruptUpdate, match="at most 2 frames"):
        unpack_chain(chain, 2)
    for wrong in (chain[:-1], chain + b"\0", b"\x12" + chain[1:], b"\x0a\x80\x00"):
        with pytest.raises(CorruptUpdate):
            unpack_chain(wrong, 3)
