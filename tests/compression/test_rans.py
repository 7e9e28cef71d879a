"""What entropy coding promises: nothing is lost, and rows, columns and repetition are worth something."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from phloem.compression.codec import codec
from phloem.compression.rans import LEAST_BYTES, Rans
from phloem.compression.signal import Array, Bytes, Index, Symbols, Values
from phloem.errors import CorruptUpdate

STAGE = Rans()


def coded(array: Array, spec: Symbols | Index) -> Array:
    """The bytes that a signal becomes."""
    (data,), _ = STAGE.encode(array, spec, None, (0,))
    return data


def entropy_bytes(symbols: NDArray[np.uint8]) -> float:
    """What a coder would need that knows how often each symbol comes, and nothing else."""
    shares = np.bincount(symbols.ravel()) / symbols.size
    return float(-(symbols.size / 8) * sum(p * math.log2(p) for p in shares if p))


@given(
    st.integers(1, 16),
    st.integers(0, 99),
    st.sampled_from([(0,), (900,), (30, 31), (3, 7, 50), (600, 1), (1, 700)]),
)
def test_symbols_return(bits: int, seed: int, shape: tuple[int, ...]) -> None:
    """Any symbols of any width in any shape, evenly spread or all but equal."""
    rng = np.random.default_rng(seed)
    spec = Symbols(shape, bits)
    dtype = np.uint8 if bits <= 8 else np.uint16
    for symbols in (
        rng.integers(0, 1 << bits, shape, dtype),
        np.minimum(rng.geometric(0.7, shape) - 1, (1 << bits) - 1).astype(dtype),
        np.full(shape, (1 << bits) - 1, dtype),
    ):
        if STAGE.plan(spec) is None:
            assert spec.most_bytes < LEAST_BYTES
            return
        data = coded(symbols, spec)
        assert data.size <= spec.most_bytes + 1
        back = STAGE.decode([data], spec)
        np.testing.assert_array_equal(back, symbols)
        assert back.dtype == symbols.dtype


@given(st.integers(0, 3000), st.integers(0, 99), st.sampled_from([1, 60, 3000]))
def test_positions_return(count: int, seed: int, width: int) -> None:
    """None, all, and any number in between."""
    spec = Index(count, 3000, width)
    if STAGE.plan(spec) is None:
        return
    index = np.sort(np.random.default_rng(seed).choice(3000, count, replace=False))
    np.testing.assert_array_equal(STAGE.decode([coded(index, spec)], spec), index)


def test_what_it_leaves_alone() -> None:
    """Floats, what is coded already, seeds and scales of 32 bits, and what is too small for a stream."""
    for spec in (Values((99,)), Bytes(99), Symbols((99,), 32), Symbols((15,), 8), Index(2, 20)):
        assert STAGE.plan(spec) is None
    assert STAGE.plan(Symbols((16,), 8)) == (Bytes(17),)


@pytest.mark.parametrize(("deviation", "excess"), [(0.3, 1.05), (1.0, 1.02), (2.5, 1.02)])
def test_independent_symbols_cost_their_entropy(deviation: float, excess: float) -> None:
    """Where there is nothing to find, looking for it costs two to five percent on 50 000 symbols."""
    values = np.random.default_rng(1).standard_normal((200, 250)) * deviation
    symbols = np.clip(np.rint(values) + 7, 0, 14).astype(np.uint8)
    assert coded(symbols, Symbols(symbols.shape, 4)).size <= excess * entropy_bytes(symbols) + 20


def test_rows_and_columns_that_differ_cost_less() -> None:
    """Sizes that belong to rows and columns are learned: a sixth is saved, with little to learn from."""
    rng = np.random.default_rng(2)
    sizes = np.exp(rng.standard_normal((200, 1))) * np.exp(rng.standard_normal(250))
    values = rng.standard_normal((200, 250)) * sizes
    symbols = np.clip(np.rint(values) + 7, 0, 14).astype(np.uint8)
    assert coded(symbols, Symbols(symbols.shape, 4)).size <= 0.83 * entropy_bytes(symbols)


def test_positions_in_few_rows_and_columns_cost_less() -> None:
    """Dead inputs and idle outputs are learned too; evenly spread positions cost what Rice coding does."""
    rng = np.random.default_rng(3)
    chances = rng.uniform(0, 1, (200, 1)) ** 6 * rng.uniform(0, 1, 250) ** 6
    index = np.flatnonzero(rng.uniform(size=(200, 250)) < chances)
    spec = Index(index.size, 50_000, width=250)
    assert coded(index, spec).size <= 0.7 * spec.most_bytes
    index = np.sort(rng.choice(50_000, index.size, replace=False))
    assert coded(index, spec).size <= 1.02 * spec.most_bytes


def test_streams_that_nobody_writes() -> None:
    """Another length, another number of positions, a raw signal of another size."""
    index = np.arange(0, 4000, 9)
    spec = Index(index.size, 4000, width=40)
    data = coded(index, spec)
    assert data[0] != 0
    for wrong in (data[:-1], np.append(data, np.uint8(0)), data[:1], data[:0], np.zeros(9, np.uint8)):
        with pytest.raises(CorruptUpdate):
            STAGE.decode([wrong], spec)
    with pytest.raises(CorruptUpdate, match=f"should be {index.size + 1} positions"):
        STAGE.decode([data], Index(index.size + 1, 4000, width=40))


def test_it_pays_in_the_usual_places() -> None:
    """Behind top-k and behind factors it takes bytes off, and never adds more than one a signal."""
    rng = np.random.default_rng(4)
    update = {"w": (rng.standard_normal((64, 300)) * np.exp(2 * rng.standard_normal(300))).astype(np.float32)}
    for text in ("topk:0.05 | linear:4", "ternary:0.01", "lowrank:2 | linear:8", "linear:4,per=tensor"):
        plain, squeezed = (len(codec(text + tail).encode(update)[0]) for tail in ("", " | rans"))
        assert squeezed < plain
