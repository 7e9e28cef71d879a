"""What each quantizer beside `linear` promises about the values it carries."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from phloem.compression import gaussian
from phloem.compression.codec import codec
from phloem.compression.kernels.hadamard import rotate, rotate_back, words_needed
from phloem.compression.update import nmse
from phloem.errors import CodecError
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
    mean = np.mean(arrived, axis=0, dtype=np.float64).astype(np.float32)
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


@pytest.mark.parametrize("ladder", [[f"eden:{bits}" for bits in gaussian.BITS]])
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
        ("eden:1,scale=up", "one of nearest, unbiased. Found 'up'"),
    ],
)
def test_parameters_out_of_range(text: str, complaint: str) -> None:
    """A parameter that makes no sense is refused when the codec is made."""
    with pytest.raises(CodecError, match=complaint):
        codec(text)
