"""What each quantizer beside `linear` promises about the values it carries."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from phloem.compression import gaussian, scale
from phloem.compression.bf16 import Bf16
from phloem.compression.codec import codec
from phloem.compression.kernels.hadamard import rotate, rotate_back, words_needed
from phloem.compression.kmeans import KMeans, fit
from phloem.compression.log import Log
from phloem.compression.qsgd import Qsgd
from phloem.compression.signal import Array, Values
from phloem.compression.stage import Stage
from phloem.compression.update import nmse
from phloem.errors import CodecError, CorruptUpdate
from tests.compression.cases import through

Floats = NDArray[np.float32]

vectors = arrays(np.float32, st.integers(1, 300), elements=st.floats(-8, 8, width=32))


def error(text: str, tensor: Floats, seed: int = 0) -> float:
    """The squared error over the square."""
    return nmse({"w": tensor}, {"w": through(text, tensor, seed)})


def excess(text: str, tensor: Floats, seeds: int = 300) -> float:
    """The error of the mean over many seeds, over that of one of them through their number: 1 if unbiased."""
    arrived = [through(text, tensor, seed) for seed in range(seeds)]
    one = float(np.mean([nmse({"w": tensor}, {"w": found}) for found in arrived]))
    mean = np.asarray(np.mean(arrived, axis=0, dtype=np.float64), np.float32)
    return nmse({"w": tensor}, {"w": mean}) / (one / seeds)


@pytest.mark.parametrize("bits", gaussian.BITS)
def test_codebooks_are_the_best_ones(bits: int) -> None:
    """Each level is the mean of the Gaussian between its borders, which is Lloyd's condition."""
    borders = [-math.inf, *gaussian.borders(bits).tolist(), math.inf]
    for level, low, high in zip(gaussian.levels(bits), borders[:-1], borders[1:], strict=True):
        mass = 0.5 * (math.erfc(low / math.sqrt(2)) - math.erfc(high / math.sqrt(2)))
        moment = (math.exp(-low * low / 2) - math.exp(-high * high / 2)) / math.sqrt(2 * math.pi)
        assert abs(moment / mass - level) <= 1.5 / gaussian.UNITS


@pytest.mark.parametrize(
    ("text", "published"),
    [
        ("eden:1", 0.3634),
        ("eden:2", 0.1175),
        ("eden:1,scale=unbiased", 0.571),
        ("eden:2,scale=unbiased", 0.133),
        ("eden:4,scale=unbiased", 0.0096),
    ],
)
def test_eden_has_the_published_error(text: str, published: float) -> None:
    """Within one percent, on Gaussian values and on values that are nothing like it."""
    rng = np.random.default_rng(1)
    values = rng.standard_normal(1 << 17, np.float32)
    assert error(text, values) == pytest.approx(published, rel=0.01)
    assert error(text, values**5) <= 1.01 * published


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("count", [100, 1000])
def test_eden_is_unbiased(bits: int, count: int) -> None:
    """Averaging makes the error as small as chance allows, also where blocks overlap."""
    tensor = np.random.default_rng(2).standard_normal(count, np.float32)
    assert excess(f"eden:{bits},scale=unbiased", tensor) <= 1.5
    assert excess(f"eden:{bits}", tensor) > excess(f"eden:{bits},scale=unbiased", tensor)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_eden_is_unbiased_where_one_value_outweighs_the_rest(bits: int) -> None:
    """The rotation is not quite uniform; two transforms hide what one would show."""
    tensor = np.random.default_rng(2).standard_normal(1000, np.float32)
    tensor[7] = 20
    assert excess(f"eden:{bits},scale=unbiased", tensor) <= 1.5


@given(vectors, st.integers(0, 99))
def test_rotations_turn_back(vector: Floats, seed: int) -> None:
    """A rotation keeps lengths, and its inverse gives the values again, whatever their number."""
    block = min(64, 1 << vector.size.bit_length() - 1)
    words = np.random.default_rng(seed).integers(0, 1 << 63, words_needed(vector.size, block), np.uint64)
    factor = 0.125 if block == 64 else float(np.float32(1 / math.sqrt(block)))
    turned = vector.copy()
    rotate(turned, block, factor, words)
    np.testing.assert_allclose(np.linalg.norm(turned), np.linalg.norm(vector), rtol=1e-5)
    rotate_back(turned, block, factor, words)
    np.testing.assert_allclose(turned, vector, atol=1e-4)


@given(vectors, st.integers(2, 20))
def test_kmeans_is_as_good_as_lloyd_makes_it(vector: Floats, entries: int) -> None:
    """Every entry is the mean of the values nearest to it, or has none; one value often is all there is."""
    book = fit(vector, entries)
    assert (np.diff(book) >= 0).all()
    nearest = np.abs(vector[:, None].astype(np.float64) - book).argmin(axis=1)
    for entry in set(nearest.tolist()):
        assert abs(vector[nearest == entry].mean(dtype=np.float64) - book[entry]) <= 1e-5
    constant = np.full_like(vector, vector[0])
    np.testing.assert_array_equal(fit(constant, entries), constant[0])


@pytest.mark.parametrize(("entries", "best"), [(2, 0.3634), (4, 0.1175), (16, 0.0095)])
def test_kmeans_finds_the_best_levels(entries: int, best: float) -> None:
    """On Gaussian values Lloyd's and Max's; and good ones where tails make quantiles a bad start."""
    values = np.random.default_rng(4).standard_normal(1 << 15, np.float32)
    assert error(f"kmeans:{entries}", values) <= 1.02 * best
    assert error(f"kmeans:{entries}", values**5) <= 3 * best


def test_kmeans_refuses_books_that_nobody_writes() -> None:
    """A codebook is sorted, and a symbol has an entry."""
    stage, spec = KMeans(3), Values((2,))
    book = scale.write(np.array([-1, 0, 1], np.float32))
    symbols = np.array([0, 2], np.uint8)
    np.testing.assert_array_equal(stage.decode([book, symbols], spec), [-1, 1])
    with pytest.raises(CorruptUpdate, match="sorted"):
        stage.decode([book[::-1].copy(), symbols], spec)
    with pytest.raises(CorruptUpdate, match=r"below 3\. Found 3"):
        stage.decode([book, symbols + np.uint8(1)], spec)


@given(vectors)
def test_signs_and_their_mean_magnitude(vector: Floats) -> None:
    """No scale is nearer than the mean magnitude; one value alone travels as it is."""
    decoded = through("sign", vector).astype(np.float64)
    if vector.size == 1:
        np.testing.assert_array_equal(decoded, vector)
        return
    mean = np.abs(vector.astype(np.float64)).mean()
    np.testing.assert_allclose(np.abs(decoded), mean, rtol=1e-6, atol=2.0**-126)
    assert (decoded * vector >= 0).all()


@given(vectors, st.sampled_from([0.01, 0.1, 0.5, 1.0]))
def test_ternary_is_the_sign_of_the_largest(vector: Floats, fraction: float) -> None:
    """Where top-k keeps values, ternary has their signs, times the mean of their magnitudes."""
    kept, decoded = through(f"topk:{fraction}", vector), through(f"ternary:{fraction}", vector)
    if vector.size == 1:
        return
    chosen = decoded != 0
    np.testing.assert_array_equal(np.sign(decoded[chosen & (kept != 0)]), np.sign(kept[chosen & (kept != 0)]))
    count = math.ceil(fraction * vector.size)
    mean = np.abs(kept.astype(np.float64)).sum() / count
    np.testing.assert_allclose(np.abs(decoded[chosen]), mean, rtol=1e-6)
    assert chosen.sum() == (count if mean > 2.0**-126 else 0)


@given(arrays(np.float32, 40, elements=st.floats(-(2.0**126), 2.0**126, width=32)))
def test_bf16_rounds_to_nearest(vector: Floats) -> None:
    """Off by half of the last bit that stays, and exact where there is nothing to cut."""
    decoded = through("bf16", vector).astype(np.float64)
    assert (np.abs(decoded - vector) <= 2.0**-8 * np.abs(vector.astype(np.float64)) + 2.0**-134).all()
    np.testing.assert_array_equal(through("bf16", decoded.astype(np.float32)), decoded)


def test_bf16_rounds_ties_to_even() -> None:
    """As hardware does, so that sums of many roundings do not drift."""
    halves = np.array([0x3F808000, 0x3F818000, 0x3F818001, 0x3F808001, 0xBF808000], np.uint32).view(
        np.float32
    )
    expected = np.array([0x3F80, 0x3F82, 0x3F82, 0x3F81, 0xBF80], np.uint32) << np.uint32(16)
    np.testing.assert_array_equal(through("bf16", halves).view(np.uint32), expected)


@given(vectors, st.integers(2, 8))
def test_log_is_off_by_a_third(vector: Floats, bits: int) -> None:
    """What arrives is a power of two or zero, the nearest one there is."""
    decoded = through(f"log:{bits}", vector).astype(np.float64)
    if vector.size == 1 and bits == 8:
        return
    powers = np.abs(decoded[decoded != 0])
    assert (np.frexp(powers)[0] == 0.5).all()
    top = powers.max(initial=0.0)
    smallest = max(top * 2.0 ** (2 - (1 << bits - 1)), 2.0**-126)
    off = np.abs(decoded - vector)
    assert (off <= np.maximum(np.abs(vector.astype(np.float64)) / 3, smallest / 2) * (1 + 1e-6)).all()


@pytest.mark.parametrize("text", ["log:2", "log:3", "log:6", "qsgd:1", "qsgd:7", "qsgd:127"])
def test_rounding_at_random_is_unbiased(text: str) -> None:
    """Averaging makes the error as small as chance allows: no shift, no shrinking."""
    tensor = np.random.default_rng(5).standard_normal(300, np.float32)
    assert excess(f"{text},rounding=stochastic" if text.startswith("log") else text, tensor) <= 1.3


@pytest.mark.parametrize("levels", [1, 7, 127])
def test_qsgd_keeps_its_bound(levels: int) -> None:
    """The error that its paper proves, on average over seeds."""
    tensor = np.random.default_rng(5).standard_normal(400, np.float32)
    mean = np.mean([error(f"qsgd:{levels}", tensor, seed) for seed in range(50)])
    assert mean <= min(tensor.size / levels**2, math.sqrt(tensor.size) / levels)


def test_symbols_that_no_quantizer_gives() -> None:
    """One more than the highest level, or a power of two beyond float32's range."""
    top = np.array([200], np.uint8)
    cases: list[tuple[Stage, list[Array]]] = [
        (Log(3), [top, np.array([7], np.uint8)]),
        (Log(3), [np.array([2], np.uint8), np.array([0, 4], np.uint8)]),
        (Log(3), [np.array([255], np.uint8), np.array([6], np.uint8)]),
        (Qsgd(5), [scale.write(np.ones(1)), np.array([11], np.uint8)]),
        (Bf16(), [np.array([0x7F80], np.uint16)]),
    ]
    for stage, signals in cases:
        with pytest.raises(CorruptUpdate):
            stage.decode(signals, Values((len(signals[-1]),)))


def test_scales_are_normal_numbers() -> None:
    """Subnormal ones are not sent, and none that is infinite, subnormal or minus zero is taken."""
    np.testing.assert_array_equal(scale.read(scale.write(np.array([1e-40, -2.5, 0, -0.0]))), [0, -2.5, 0, 0])
    for pattern in (0x80000000, 1, 0x007FFFFF, 0x7F800000, 0xFF800000, 0x7FC00000):
        with pytest.raises(CorruptUpdate, match=f"{pattern:#010x}"):
            scale.read(np.array([pattern], np.uint32))


@pytest.mark.parametrize(
    "ladder",
    [
        [f"eden:{bits}" for bits in gaussian.BITS],
        [f"kmeans:{entries}" for entries in (2, 3, 4, 7, 16, 64)],
        [f"log:{bits}" for bits in (2, 3, 4, 5)],
        [f"ternary:{fraction}" for fraction in (0.001, 0.01, 0.1, 0.3)],
    ],
)
def test_more_bits_less_error(ladder: list[str]) -> None:
    """A larger parameter costs more and loses less, so a search over it can be trusted."""
    tensor = np.random.default_rng(6).standard_normal((20, 200), np.float32)
    sizes = [len(codec(text).encode({"w": tensor})[0]) for text in ladder]
    errors = [error(text, tensor) for text in ladder]
    assert sizes == sorted(set(sizes))
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("eden:0", r"`bits` of `eden` should be in 1..8. Found 0"),
        ("eden:9", "Found 9"),
        ("kmeans:1", r"`entries` of `kmeans` should be in 2..256. Found 1"),
        ("kmeans:257", "Found 257"),
        ("ternary:0", "`fraction` of `ternary`"),
        ("log:1", "in 2..8. Found 1. Use `sign`"),
        ("log:4,rounding=up", "one of nearest, stochastic. Found 'up'"),
        ("qsgd:128", "in 1..127. Found 128"),
        ("eden:1,scale=up", "one of nearest, unbiased. Found 'up'"),
    ],
)
def test_parameters_out_of_range(text: str, complaint: str) -> None:
    """A parameter that makes no sense is refused when the codec is made."""
    with pytest.raises(CodecError, match=complaint):
        codec(text)
