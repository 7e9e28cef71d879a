"""The adaptive stream: exact round trips, its price against the entropy, its end, its tables."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from phloem.compression.entropy import Block, Decoder, Encoder, Scale, StreamFull
from phloem.compression.kernels import frequencies, rows, tables
from phloem.compression.kernels.encoding import DEPENDENT_STEP
from phloem.compression.kernels.rows import LARGEST
from phloem.compression.stream import ending
from phloem.errors import CorruptUpdate

EXACT = Scale(1.0, 0.0, math.inf)
"""Rounds to integers, whatever they cost."""


def block(kind: int, start: float = 1.0) -> Block:
    """A whole plane."""
    return Block(kind, kind > 0, start)


def coded(planes: list[NDArray[np.int64]], room: int = 1 << 20) -> bytes:
    """Planes of integers as a stream."""
    encoder = Encoder(room)
    for place, plane in enumerate(planes):
        encoder.rows(plane.astype(np.float32), EXACT, block(place % 3), keep=False)
    return encoder.finish()


def decoded(stream: bytes, shapes: list[tuple[int, int]]) -> list[NDArray[np.int32]]:
    """Invert `coded`."""
    decoder = Decoder(stream)
    planes = [decoder.rows(shape, block(place % 3))[0] // 2 for place, shape in enumerate(shapes)]
    decoder.finish()
    return planes


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 12),
    st.integers(1, 40),
    st.sampled_from([0, 1, 3, 40, 5000, LARGEST // 2 - 2]),
    st.integers(0, 99),
)
def test_integers_return(rows: int, columns: int, most: int, seed: int) -> None:
    """Whatever the integers are, and however badly they were predicted."""
    rng = np.random.default_rng(seed)
    planes = [
        rng.integers(-most, most + 1, (rows, columns)) * (rng.random((rows, columns)) < density)
        for density in (1.0, 0.3, 0.02, 1.0)
    ]
    back = decoded(coded(planes), [(rows, columns)] * 4)
    for plane, found in zip(planes, back, strict=True):
        np.testing.assert_array_equal(plane, found)


@pytest.mark.parametrize(("mean", "share"), [(2.0, 1.01), (0.5, 1.01), (0.1, 1.01), (0.01, 1.04)])
def test_price_against_entropy(mean: float, share: float) -> None:
    """On independent values, where contexts know nothing, adaptivity costs next to nothing."""
    rng = np.random.default_rng(4)
    more = mean / (1 + mean)
    plane = (rng.geometric(1 - more, (512, 1024)) - 1) * rng.choice([-1, 1], (512, 1024))
    bits = -math.log2(1 - more) - mean * math.log2(more) + more  # one bit a sign
    assert 8 * len(coded([plane])) <= share * bits * plane.size


def test_structure_is_found() -> None:
    """Values whose size follows their row and column cost far less than their order-0 entropy."""
    rng = np.random.default_rng(2)
    scale = rng.lognormal(0, 1.5, (200, 1)) * rng.lognormal(0, 1.5, (1, 300)) * 0.3
    plane = np.round(rng.laplace(size=(200, 300)) * scale).astype(np.int64)
    counts = np.unique(plane, return_counts=True)[1] / plane.size
    entropy = -float((counts * np.log2(counts)).sum()) * plane.size
    assert 8 * len(coded([plane])) < 0.8 * entropy


def test_small_planes_cost_little() -> None:
    """No tables: a few values take a few bytes."""
    assert len(coded([np.array([[1, 0, 0, -1, 0, 2, 0, 0]])])) <= 6
    assert len(coded([np.zeros((100, 100), np.int64)])) <= 6


@given(st.integers(0, 2**49), st.integers(2**32, 2**48))
def test_ending(low: int, width: int) -> None:
    """A stream ends in its last range, in as few bytes as any range of that width allows."""
    end, number = ending(low, width)
    assert low <= number < low + width
    assert number % 2 ** (48 - 8 * end) == 0
    assert end == 0 or 2 ** (48 - 8 * (end - 1)) > width


def test_marks() -> None:
    """Going back, on, and back again leaves the bytes of the path that was chosen."""
    rng = np.random.default_rng(0)
    first, second, third = (rng.laplace(0, 3, (20, 50)).astype(np.float32) for _ in range(3))
    scale = Scale(1.0, 0.1)
    encoder, direct = Encoder(1 << 16), Encoder(1 << 16)
    encoder.rows(first, scale, block(0), keep=False)
    start = encoder.mark()
    encoder.rows(second, scale, block(0), keep=False)
    chosen = encoder.mark(start)
    encoder.back(start)
    encoder.rows(third, scale, block(0), keep=False)
    encoder.back(chosen)
    direct.rows(first, scale, block(0), keep=False)
    direct.rows(second, scale, block(0), keep=False)
    assert encoder.finish() == direct.finish()


@pytest.mark.parametrize("price", [0.0, 0.1])
def test_dependent_quantization(price: float) -> None:
    """The decoder walks the encoder's path; at the same step the error is a decibel less than by rounding."""
    values = np.random.default_rng(3).uniform(-40, 40, (60, 100)).astype(np.float32)
    encoder = Encoder(1 << 16)
    written = encoder.rows(values, Scale(1.0, price, 0.0), block(0), keep=True)
    decoder = Decoder(encoder.finish())
    halves, dependents = decoder.rows((60, 100), block(0))
    decoder.finish()
    np.testing.assert_array_equal(halves, written.halves)
    assert dependents.all()
    error = float(np.square(values / DEPENDENT_STEP - halves / 2, dtype=np.float64).mean())
    assert price or error < 10**-0.09 / 12
    assert written.sums[0] == pytest.approx(error * DEPENDENT_STEP**2 * values.size, rel=1e-4)


def test_signs() -> None:
    """A common magnitude takes its own bits and one a value."""
    values = np.random.default_rng(3).choice([-0.7, 0.7], (60, 100)).astype(np.float32)
    encoder = Encoder(1 << 16)
    encoder.signs(values, 0.7)
    stream = encoder.finish()
    assert len(stream) <= values.size // 8 + 5
    decoder = Decoder(stream)
    np.testing.assert_array_equal(decoder.signs((60, 100)), values)
    decoder.finish()
    with pytest.raises(StreamFull):
        Encoder(100).signs(np.tile(values, (4, 1)), 0.7)
    with pytest.raises(CorruptUpdate, match="magnitude"):
        Decoder(b"\0" * 800).signs((60, 100))


def test_numbers() -> None:
    """Side information returns too, adaptive or raw."""
    values = np.random.default_rng(1).integers(0, 128, 300)
    encoder = Encoder(1 << 12)
    for value in values:
        encoder.number(64, 7, int(value))
        encoder.number(-1, 7, int(value))
    decoder = Decoder(encoder.finish())
    assert [(decoder.number(64, 7), decoder.number(-1, 7)) for _ in values] == [(v, v) for v in values]
    decoder.finish()


def test_every_truncation_and_alteration() -> None:
    """A damaged stream raises, or gives integers in range; its end gives most damage away."""
    rng = np.random.default_rng(7)
    stream = coded([np.round(rng.laplace(0, 2, (9, 14))).astype(np.int64)])
    damaged = [stream[:size] for size in range(len(stream))]
    damaged += [
        stream[:i] + bytes([stream[i] ^ 1 << bit]) + stream[i + 1 :]
        for i in range(len(stream))
        for bit in range(8)
    ]
    damaged += [stream + b"\0", stream + b"\1", stream + stream, b"\xff" * 400, b"\0" * 400, b""]
    unseen = 0
    for bad in damaged:
        try:
            (plane,) = decoded(bad, [(9, 14)])
        except CorruptUpdate:
            continue
        unseen += 1
        assert np.abs(plane).max() <= LARGEST
    assert unseen <= len(damaged) // 10


def test_room_is_kept() -> None:
    """An encoder never writes beyond its room: it says so instead."""
    encoder = Encoder(100)
    with pytest.raises(StreamFull):
        encoder.rows(np.full((50, 50), 1e6, np.float32), EXACT, block(0), keep=False)


def test_tables_are_the_same_everywhere() -> None:
    """Probabilities are part of the format: one other entry, and nothing decodes any more.

    They come from `exp` and `log`, so no entry may lie where their last digit would decide its rounding.
    """
    sha = hashlib.sha256()
    book, starts, finder, _ = frequencies.fresh_tables()
    for table in (tables.SQUASH, tables.STRETCH, tables.RATE, frequencies.LOCAL, book, starts, finder):
        sha.update(np.ascontiguousarray(table.astype("<i8")).tobytes())
    for shares in (rows.SHARES, rows.SCALES):
        sha.update(np.ascontiguousarray(shares.astype("<f4")).tobytes())
    assert sha.hexdigest() == CHECKSUM
    logits = np.arange(-tables.LOGIT_LIMIT, tables.LOGIT_LIMIT + 1) / 256
    chances = (np.arange(4096) + 0.5) / 4096
    counts, local = frequencies.exact_counts(), frequencies.exact_local()
    for exact in (65536 / (1 + np.exp(-logits)), 256 * np.log(chances / (1 - chances)), counts, local):
        assert np.abs(exact % 1 - 0.5).min() > 1e-6


CHECKSUM = "9d6d56ef6222553d294b340d017b230dff47ab504f6677eba1de8a7591d4d08e"
