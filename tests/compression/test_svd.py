"""What the singular value decomposition promises: the nearest matrix, and no more than it needs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from phloem.compression.codec import CodecState, codec
from phloem.compression.signal import Values
from phloem.compression.svd import MOST_RANK, Svd, components
from phloem.compression.update import nmse
from phloem.errors import CodecError
from tests.compression.cases import through

Floats = NDArray[np.float32]


def error(text: str, tensor: Floats) -> float:
    """The squared error over the square."""
    return nmse({"w": tensor}, {"w": through(text, tensor)})


def falling(m: int, n: int, pace: float) -> Floats:
    """A matrix whose singular values fall by this factor from one to the next."""
    rng = np.random.default_rng(m)
    left, _ = np.linalg.qr(rng.standard_normal((m, m)))
    right, _ = np.linalg.qr(rng.standard_normal((n, n)))
    values = pace ** np.arange(min(m, n))
    return np.asarray((left[:, : values.size] * values) @ right[: values.size], np.float32)


@pytest.mark.parametrize("shape", [(30, 90), (90, 30)])
@pytest.mark.parametrize("pace", [0.3, 0.8, 0.97])
@pytest.mark.parametrize("rank", [1, 3, 12])
def test_no_matrix_of_this_rank_is_nearer(shape: tuple[int, int], pace: float, rank: int) -> None:
    """Within two percent of what Eckart and Young say is the least, also where values fall slowly."""
    values = pace ** (2 * np.arange(30))
    best = values[rank:].sum() / values.sum()
    assert error(f"svd:{rank}", falling(*shape, pace)) <= 1.02 * best + 1e-12


@pytest.mark.parametrize("energy", [0.2, 0.5, 0.9, 0.99])
def test_as_many_components_as_the_energy_takes(energy: float) -> None:
    """The error is at most what may be missing, and one component fewer would miss more."""
    matrix = falling(40, 120, 0.8)
    values = 0.8 ** (2 * np.arange(40))
    shares = np.cumsum(values) / values.sum()
    rank = int(np.searchsorted(shares, energy)) + 1
    number, _ = Svd(energy=energy).fit(matrix, Values(matrix.shape), None, (0,))
    assert number == rank
    assert error(f"svd:energy={energy}", matrix) <= (1 - energy) * 1.0001


def test_where_factors_would_not_be_smaller_nothing_is_lost() -> None:
    """Noise has no leading components: such a tensor passes, and what follows takes it as it is."""
    noise = np.random.default_rng(1).standard_normal((30, 40), np.float32)
    np.testing.assert_array_equal(through("svd:energy=0.999", noise), noise)
    assert error("svd:energy=0.999 | linear:8", noise) < 1e-4
    for shape in ((8,), (3, 3), (1, 40), (0, 4), ()):
        tensor = np.ones(shape, np.float32)
        np.testing.assert_array_equal(through("svd:2", tensor), tensor)
        np.testing.assert_allclose(through("svd:energy=0.5", tensor), tensor, rtol=1e-6)
    zeros = np.zeros((30, 40), np.float32)
    np.testing.assert_array_equal(through("svd:energy=0.5", zeros), zeros)


def test_large_ranks_are_not_looked_for() -> None:
    """Beyond so many components the search would cost more than it saves; the plan says so, not the data."""
    assert Svd(energy=0.9).most(Values((4096, 4096))) == MOST_RANK + 1
    assert Svd(energy=0.9).most(Values((1 << 20, 1 << 20))) == MOST_RANK + 1
    assert Svd(energy=0.9).most(Values((10,))) is None


def test_memory_of_the_last_update_is_used() -> None:
    """What was found last time comes along, as a value, and a memory of another shape is left."""
    matrix, other = falling(40, 60, 0.9), falling(40, 50, 0.9)
    for text in ("svd:4", "svd:energy=0.5"):
        _, state = codec(text).encode({"w": matrix})
        assert set(state.warm) == {"w/0.0"}
        assert codec(text).encode({"w": other}, state)[0] == codec(text).encode({"w": other})[0]
        _, again = codec(text).encode({"w": matrix}, CodecState(warm=state.warm))
        np.testing.assert_allclose(np.abs(again.warm["w/0.0"]), np.abs(state.warm["w/0.0"]), atol=0.02)


@given(arrays(np.float32, (6, 30), elements=st.floats(-4, 4, width=32)))
def test_components_are_ordered_and_what_is_left_is_orthogonal_to_them(matrix: Floats) -> None:
    """Left factors fall in length, and Pythagoras holds: what is left out is no part of what is kept."""
    left, right = components(matrix, 3, None, (1,))
    lengths = np.linalg.norm(left, axis=1)
    assert (np.diff(lengths) <= 1e-4 * (1 + lengths[0])).all()
    kept = left.T.astype(np.float64) @ right
    power = float(np.square(matrix, dtype=np.float64).sum())
    assert abs((kept**2).sum() + ((matrix - kept) ** 2).sum() - power) <= 1e-4 * power


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("svd", "one of `rank` and `energy`"),
        ("svd:3,energy=0.5", "one of `rank` and `energy`"),
        ("svd:0", "1 or more. Found 0"),
        ("svd:energy=1", "between 0 and 1. Found 1.0. Use `dense`"),
    ],
)
def test_parameters_out_of_range(text: str, complaint: str) -> None:
    """A parameter that makes no sense is refused when the codec is made."""
    with pytest.raises(CodecError, match=complaint):
        codec(text)
