"""The adaptive stream: exact round trips, its price against the entropy, its end, its tables."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from phloem.compression.entropy import Block, Decoder, Encoder, Scale, StreamFull, ending
from phloem.compression.kernels import tables
from phloem.compression.kernels.rows import LARGEST
from phloem.errors import CorruptUpdate

EXACT = Scale(1.0, 0.0)
"""Rounds to integers, whatever they cost."""


def block(kind: int, columns: int, start: int, dependent: bool = False) -> Block:
    """A whole plane."""
    return Block(kind, dependent, start, 0, np.full(columns, start, np.int64))


def coded(planes: list[NDArray[np.int64]], room: int = 1 << 20) -> bytes:
    """Planes of integers as a stream."""
    encoder = Encoder(room)
    for kind, plane in enumerate(planes):
        start = min(round(256 * float(np.abs(plane).mean())), (1 << 16) - 1)
        encoder.number(-1, 16, start)
        encoder.rows(plane.astype(np.float32), EXACT, block(kind % 3, plane.shape[1], start))
    return encoder.finish()


def decoded(stream: bytes, shapes: list[tuple[int, int]]) -> list[NDArray[np.int32]]:
    """Invert `coded`."""
    decoder = Decoder(stream)
    planes = [
        decoder.rows(shape, block(kind % 3, shape[1], decoder.number(-1, 16))) // 2
        for kind, shape in enumerate(shapes)
    ]
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


@pytest.mark.parametrize(("mean", "share"), [(2.0, 1.01), (0.5, 1.01), (0.1, 1.025), (0.01, 1.08)])
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
    encoder.rows(first, scale, block(0, 50, 700))
    start = encoder.mark()
    encoder.rows(second, scale, block(0, 50, 700, dependent=True))
    chosen = encoder.mark(start)
    encoder.back(start)
    encoder.rows(third, scale, block(0, 50, 700))
    encoder.back(chosen)
    direct.rows(first, scale, block(0, 50, 700))
    direct.rows(second, scale, block(0, 50, 700, dependent=True))
    assert encoder.finish() == direct.finish()


@pytest.mark.parametrize("price", [0.0, 0.1])
def test_dependent_quantization(price: float) -> None:
    """The decoder walks the encoder's path; at the same step the error is a decibel less than by rounding."""
    values = np.random.default_rng(3).uniform(-40, 40, (60, 100)).astype(np.float32)
    encoder = Encoder(1 << 16)
    halves = encoder.rows(values, Scale(1.0, price), block(0, 100, 5000, dependent=True))
    decoder = Decoder(encoder.finish())
    np.testing.assert_array_equal(decoder.rows((60, 100), block(0, 100, 5000, dependent=True)), halves)
    decoder.finish()
    error = float(np.square(values - halves / 2, dtype=np.float64).mean())
    assert price or error < 10**-0.09 / 12


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
        encoder.rows(np.full((50, 50), 1e6, np.float32), EXACT, block(0, 50, 10))


def test_tables_are_the_same_everywhere() -> None:
    """Probabilities are part of the format: one other entry, and nothing decodes any more.

    They come from `exp` and `log`, so no entry may lie where their last digit would decide its rounding.
    """
    sha = hashlib.sha256()
    for table in (tables.LEVEL, tables.SQUASH, tables.STRETCH, tables.RATE, tables.CENTER):
        sha.update(np.ascontiguousarray(table.astype("<i8")).tobytes())
    sha.update(tables.fresh_models(1).astype("<u4").tobytes())
    assert sha.hexdigest() == CHECKSUM
    logits = np.arange(-tables.LOGIT_LIMIT, tables.LOGIT_LIMIT + 1) / 256
    chances = (np.arange(4096) + 0.5) / 4096
    centers = tables.CENTER[::2, None].astype(np.float64) * tables.CENTER[None, ::2]
    for exact in (65536 / (1 + np.exp(-logits)), 256 * np.log(chances / (1 - chances)), np.sqrt(centers)):
        assert np.abs(exact % 1 - 0.5).min() > 1e-6


CHECKSUM = "8f2e2ad68912e8a5e2b827d93c1da438f3190238403d3ddc3f5ac5797b4cec2b"
