"""Bits, positions and payloads: the layouts below the stages."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phloem.compression import bits, rice
from phloem.compression.payload import join, joined_bytes, most_joined_bytes, split
from phloem.compression.signal import Array, Bytes, Index, Symbols, Values
from phloem.errors import CorruptUpdate


@given(st.integers(1, 40), st.data())
def test_symbols_are_packed_without_a_gap(width: int, data: st.DataObject) -> None:
    """Symbols of any width come back, from as few bytes as their bits need."""
    symbols = data.draw(st.lists(st.integers(0, 2**width - 1), max_size=40))
    packed = bits.pack(np.array(symbols, bits.dtype_of(width)), width)
    assert len(packed) == bits.packed_bytes(len(symbols), width)
    assert len(packed) * 8 < len(symbols) * width + 16 * (1 + width // 8)
    assert bits.unpack(packed, len(symbols), width).tolist() == symbols


@pytest.mark.parametrize("width", range(1, 9))
def test_symbol_order(width: int) -> None:
    """The layout that golden files hold: lowest bit first, one long number."""
    symbols = [(37 * i + 5) % 2**width for i in range(11)]
    number = sum(symbol << width * i for i, symbol in enumerate(symbols))
    packed = bits.pack(np.array(symbols, np.uint8), width)
    assert packed == number.to_bytes(-(-11 * width // 8), "little")


@pytest.mark.parametrize("width", [1, 2, 3, 5, 7, 9, 12])
def test_spare_bits_are_zero(width: int) -> None:
    """A bit that means nothing may not be set: one update, one string of bytes."""
    packed = bytearray(bits.pack(np.zeros(5, bits.dtype_of(width)), width))
    packed[-1] |= 0x80
    with pytest.raises(CorruptUpdate, match="should be zero"):
        bits.unpack(bytes(packed), 5, width)


@given(st.data(), st.integers(0, 300))
def test_positions_come_back(data: st.DataObject, bound: int) -> None:
    """Any set of positions, from none to all, in a size that does not depend on which they are."""
    chosen = sorted(data.draw(st.sets(st.integers(0, bound - 1)))) if bound else []
    coded = rice.encode(np.array(chosen, np.int64), bound)
    assert len(coded) == rice.coded_bytes(len(chosen), bound)
    assert rice.decode(coded, len(chosen), bound).tolist() == chosen


@given(st.data(), st.integers(1, 300))
def test_positions_increase_whatever_the_bytes(data: st.DataObject, bound: int) -> None:
    """No bytes give a position twice, out of order or out of bounds."""
    count = data.draw(st.integers(0, bound))
    size = rice.coded_bytes(count, bound)
    try:
        positions = rice.decode(data.draw(st.binary(min_size=size, max_size=size)), count, bound)
    except CorruptUpdate:
        return
    assert positions.size == count
    assert (np.diff(positions, prepend=-1) > 0).all()
    assert (positions < bound).all()


@pytest.mark.parametrize("share", [0.001, 0.01, 0.05, 0.2])
def test_positions_cost_little_more_than_they_must(share: float) -> None:
    """Within 0.6 bits a position of what counting the sets allows: log2 of bound over count."""
    bound = 1_000_000
    count = int(share * bound)
    least = (math.lgamma(bound + 1) - math.lgamma(count + 1) - math.lgamma(bound - count + 1)) / math.log(2)
    assert 8 * rice.coded_bytes(count, bound) <= least + 0.6 * count


def test_positions_beyond_any_memory() -> None:
    """A plan for a matrix that nobody could hold is still only arithmetic."""
    assert rice.coded_bytes(1 << 30, 1 << 40) > 1 << 30


specs = st.lists(
    st.one_of(
        st.builds(Values, st.tuples(st.integers(0, 3), st.integers(0, 3))),
        st.builds(Symbols, st.tuples(st.integers(0, 5)), st.integers(1, 20)),
        st.integers(0, 20).flatmap(lambda bound: st.builds(Index, st.integers(0, bound), st.just(bound))),
        st.builds(Bytes, st.integers(0, 300)),
    ),
    max_size=6,
)


@given(specs, st.data())
def test_payloads_come_back(layout: list[Values | Symbols | Index | Bytes], data: st.DataObject) -> None:
    """Any signals in any order share one payload; the specs tell their lengths, or else the whole does."""
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    arrays: list[Array] = []
    for spec in layout:
        match spec:
            case Values(shape):
                arrays.append(rng.standard_normal(shape, np.float32))
            case Symbols(shape, width):
                arrays.append(rng.integers(0, 1 << width, shape, dtype=bits.dtype_of(width)))
            case Index(count, bound):
                arrays.append(np.sort(rng.permutation(bound)[:count]))
            case Bytes(most):
                arrays.append(rng.integers(0, 256, data.draw(st.integers(0, most)), dtype=np.uint8))
    payload = join(layout, arrays)
    assert len(payload) == joined_bytes(layout, arrays) <= most_joined_bytes(layout)
    for found, array in zip(split(layout, payload), arrays, strict=True):
        np.testing.assert_array_equal(found, array)


@given(specs, st.binary(max_size=300))
def test_payloads_of_any_bytes(layout: list[Values | Symbols | Index | Bytes], payload: bytes) -> None:
    """What is no payload of these signals is refused, and what is one is used up to the last byte."""
    try:
        arrays = split(layout, payload)
    except CorruptUpdate:
        return
    assert joined_bytes(layout, arrays) == len(payload)
    for spec, array in zip(layout, arrays, strict=True):
        assert not isinstance(spec, Bytes) or array.size <= spec.most_bytes


def test_lengths_have_bounds() -> None:
    """A part of unknown length is refused where it is longer than the schema allows, first or last."""
    layout = [Bytes(3), Bytes(2)]
    assert join(layout, [np.zeros(3, np.uint8), np.zeros(2, np.uint8)]) == b"\x03" + bytes(5)
    for wrong in (b"\x03" + bytes(6), b"\x04" + bytes(5), b"\x04" + bytes(4), b"\x03\0\0", b""):
        with pytest.raises(CorruptUpdate):
            split(layout, wrong)
