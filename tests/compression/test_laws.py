"""The laws of a codec, over everything that is registered."""

from __future__ import annotations

import importlib
from contextlib import suppress

import numpy as np
import pytest

from phloem.compression.codec import Codec, CodecState, codec
from phloem.compression.frame import SEAL_BYTES, peek
from phloem.compression.registry import names
from phloem.compression.update import Schema, add, digest, is_finite, nmse, norm, subtract
from phloem.errors import ConfigError
from tests.compression.cases import CODECS, Arrays, locked, updates, usual

UNBIASED = ("stochastic", "unbiased", "qsgd", "dither")
"""Words in the text of a codec that has an expected error of zero, and for that a larger one."""

DRAWN = (*UNBIASED, "eden", "randk")
"""Words in the text of a codec that draws random numbers."""

over_codecs = pytest.mark.parametrize("text", CODECS)
over_updates = pytest.mark.parametrize("update", [pytest.param(u, id=k) for k, u in updates().items()])


def carried(
    update: Arrays, sender: Codec, state: CodecState | None = None
) -> tuple[Arrays, CodecState, bytes]:
    """What arrives, what the sender keeps, and the bytes in between."""
    blob, after = sender.encode(locked(update), state, seed=5)
    return dict(sender.decode(blob, Schema.of(update))), after, blob


def test_the_cases_use_every_name() -> None:
    """Nobody registers a stage without putting it under the laws."""
    used = {part.split(":")[0].strip() for text in CODECS for part in text.split("|")}
    assert used == set(names())


@over_codecs
def test_text_round_trips(text: str) -> None:
    """A codec is its text: what is logged can be typed in again."""
    made = codec(text)
    assert str(made) == text
    assert codec(str(made)) == made
    assert codec(text.replace(" ", "")) == made
    assert hash(codec(text)) == hash(made)


@over_codecs
@over_updates
def test_round_trip(text: str, update: Arrays) -> None:
    """The receiver gets finite arrays of its own schema, for itself, and no more error than signal."""
    decoded, _, blob = carried(update, codec(text))
    assert Schema.of(decoded) == Schema.of(update)
    assert is_finite(decoded)
    for name, tensor in decoded.items():
        assert tensor.flags.writeable
        assert tensor.flags.c_contiguous
        assert not np.shares_memory(tensor, update[name])
    if not any(word in text for word in UNBIASED):  # one bit, unbiased, may be off by more than the value
        assert norm(subtract(update, decoded)) <= norm(update) * (1 + 1e-6)
    assert len(blob) <= 64 + 4 * len(update) + sum(
        codec(text).body.max_payload_bytes(tensor) for tensor in Schema.of(update).tensors
    )


@over_codecs
def test_same_seed_same_bytes(text: str) -> None:
    """A resumed run repeats itself byte by byte, whatever else the process did in between."""
    update, _ = usual()
    state = codec(text).encode(update, seed=1)[1]
    blobs = set()
    for noise in range(3):
        np.random.default_rng(noise).random(10)
        blobs.add(codec(text).encode(update, state, seed=7)[0])
    assert len(blobs) == 1


@pytest.mark.parametrize("text", [text for text in CODECS if any(w in text for w in DRAWN)])
def test_other_seed_other_bytes(text: str) -> None:
    """Randomness comes from the seed, so clients with other seeds err in other directions."""
    update, _ = usual()
    assert codec(text).encode(update, seed=1)[0] != codec(text).encode(update, seed=2)[0]


@over_codecs
def test_state_is_a_value(text: str) -> None:
    """Encoding changes neither the update nor the state it is given: a rolled-back sender can start again."""
    update, _ = usual()
    state = codec(text).encode(locked(update), seed=1)[1]
    for kept in (state.residual or {}, state.warm):
        locked(dict(kept))
    blob, _ = codec(text).encode(update, state, seed=2)
    assert codec(text).encode(update, state, seed=2)[0] == blob


@over_codecs
def test_memory_layout_does_not_matter(text: str) -> None:
    """A transposed or strided view is encoded like its copy."""
    rng = np.random.default_rng(3)
    view = rng.standard_normal((66, 40), np.float32).T[:, ::2]
    assert codec(text).encode({"w": view})[0] == codec(text).encode({"w": view.copy()})[0]


@over_codecs
def test_bytes_do_not_depend_on_threads(text: str) -> None:
    """Neither the encoder's sums nor the decoder's are left to a library that splits them among threads."""
    rng = np.random.default_rng(4)
    update = {"w": rng.standard_normal((300, 500), np.float32), "v": rng.standard_normal(20_000, np.float32)}
    schema = Schema.of(update)
    limited = importlib.import_module(
        "threadpoolctl"
    ).threadpool_limits  # scikit-learn brings it; it has no types
    found = set()
    for threads in (1, 2):
        with limited(threads):
            blob, _ = codec(text).encode(update, seed=1)
            found.add((blob, digest(codec(text).decode(blob, schema))))
    assert len(found) == 1


@over_codecs
@over_updates
def test_nothing_is_lost(text: str, update: Arrays) -> None:
    """With error feedback, what was decoded and what is kept are together what went in."""
    sender = codec(text)
    decoded, state, _ = carried(update, sender)
    if sender.feedback is None:
        assert state.residual is None
        return
    assert state.residual is not None
    assert nmse(update, add(decoded, state.residual)) <= 1e-13


@pytest.mark.parametrize("text", [text for text in CODECS if text.startswith("ef |")])
def test_nothing_is_lost_over_many_updates(text: str) -> None:
    """The sum of all that was decoded and of the residual is the sum of all that went in."""
    rng = np.random.default_rng(6)
    state, sent, got = None, np.zeros((20, 30)), np.zeros((20, 30))
    for _ in range(30):
        update = {"w": rng.standard_normal((20, 30), np.float32)}
        decoded, state, _ = carried(update, codec(text), state)
        sent += update["w"]
        got += decoded["w"]
    assert state is not None
    assert state.residual is not None
    assert np.abs(got + state.residual["w"] - sent).max() <= 1e-6 * np.abs(sent).max() * 30
    assert norm(state.residual) < 30 * np.sqrt(600)


@over_codecs
@over_updates
def test_every_stage_is_accounted_for(text: str, update: Arrays) -> None:
    """The receiver sees what each stage made of the update, from plain float32 to the frame's own length."""
    sender = codec(text)
    blob, _ = sender.encode(update)
    _, trace = sender.decode_traced(blob, Schema.of(update))
    first, *stages, last = trace
    assert (first.stage, first.bytes) == ("dense", sum(t.nbytes for t in update.values()))
    assert (last.stage, last.bytes) == ("frame", len(blob))
    assert [row.stage for row in stages] == getattr(sender.body, "wire", str(sender.body)).split(" | ")
    payloads, _ = sender.body.encode(update, Schema.of(update), {}, 0)
    assert stages[-1].bytes == sum(len(payload) for payload in payloads)


@over_codecs
def test_versions_travel(text: str) -> None:
    """The receiver can tell which model an update belongs to, and which update it is."""
    update, schema = usual()
    blob, _ = codec(text).encode(update, base=3, seq=2**40)
    header = peek(blob)
    assert (header.base, header.seq) == (3, 2**40)
    assert header.schema == schema.fingerprint
    assert header.codec == codec(text).wire_text


@over_codecs
def test_only_the_seal_covers_the_numbers(text: str) -> None:
    """Numbers in the header change the header alone: the same update costs the same at every round."""
    update, _ = usual()
    plain, numbered = (codec(text).encode(update, base=base, seq=base)[0] for base in (0, 100))
    assert len(numbered) == len(plain) + 4
    assert numbered[-SEAL_BYTES:] != plain[-SEAL_BYTES:]


@over_codecs
@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_not_sent(text: str, poison: float) -> None:
    """A training that diverged is told so where it happened, by the tensor's name."""
    update, _ = usual()
    update["b"][3] = poison
    with pytest.raises(ConfigError, match="'b'"):
        codec(text).encode(update)


@over_codecs
def test_the_largest_numbers(text: str) -> None:
    """At the end of float32's range a codec refuses at once, or what it sends arrives finite."""
    rng = np.random.default_rng(8)
    most = np.finfo(np.float32).max
    alike = np.full((30, 40), most)
    spread = (rng.uniform(-1, 1, (30, 40)) * most).astype(np.float32)
    one_rank = (np.outer(rng.uniform(-1, 1, 30), rng.uniform(-1, 1, 40)) * most).astype(np.float32)
    for update in ({"w": tensor} for tensor in (alike, spread, one_rank)):
        with suppress(ConfigError):
            state = None
            for _ in range(2):  # what is owed comes on top
                blob, state = codec(text).encode(update, state)
                assert is_finite(codec(text).decode(blob, Schema.of(update)))


def test_any_buffer_is_decoded() -> None:
    """What a socket or a mapped file gives need not be `bytes`."""
    update, schema = usual()
    blob, _ = codec("linear:4").encode(update)
    wanted = digest(codec("linear:4").decode(blob, schema))
    for buffer in (bytearray(blob), memoryview(blob), np.frombuffer(blob, np.uint8)):
        assert digest(codec("linear:4").decode(buffer, schema)) == wanted  # type: ignore[arg-type]


def test_a_negative_seed_is_refused() -> None:
    """By every codec, not only by those that draw."""
    update, _ = usual()
    many = {name: np.stack([tensor, tensor]) for name, tensor in update.items()}
    with pytest.raises(ConfigError, match=r"`seed` should be 0 or more\. Found -1"):
        codec("dense").encode(update, seed=-1)
    with pytest.raises(ConfigError, match=r"`seed` should be 0 or more\. Found -1"):
        codec("dense").encode_many(many, [None, None], [0, -1])
