"""Many senders at once: byte for byte what they would have sent one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phloem.compression import bits, rice
from phloem.compression.codec import CodecState, codec
from phloem.compression.kept import largest, largest_of_each
from phloem.compression.update import digest
from phloem.errors import ConfigError
from tests.compression.cases import CODECS, Arrays

SENDERS = 4
AT_ONCE = (
    "dense",
    "bf16",
    "topk:1 | fp16",
    "topk:0.1 | linear:4 | zstd",
    "ef:decay=0.5 | linear:3,per=channel,rounding=stochastic",
    "ef | topk:0.05 | linear:1,per=tensor",
)


def updates(seed: int) -> Arrays:
    """What all senders send, first axis first: with ties, zeros, no values, one value, and a statistic."""
    rng = np.random.default_rng(seed)
    shapes = {"w": (9, 31), "v": (300,), "none": (0, 4), "one": (), "bn.running_mean": (5,)}
    found: Arrays = {name: rng.standard_normal((SENDERS, *s), np.float32) for name, s in shapes.items()}
    found["ties"] = rng.integers(-2, 3, (SENDERS, 7, 8)).astype(np.float32)
    found["w"][1] = 0
    return found


def alone(together: Arrays, sender: int) -> Arrays:
    """One sender's update."""
    return {name: np.asarray(tensor[sender]) for name, tensor in together.items()}


@pytest.mark.parametrize("text", [*CODECS, *AT_ONCE])
def test_many_are_as_one_by_one(text: str) -> None:
    """Frames and states, in the first round, and in the next where one sender is new."""
    made = codec(text)
    states: list[CodecState | None] = [None] * SENDERS
    for round_ in range(2):
        together = updates(round_)
        seeds, seqs = [10 * round_ + k for k in range(SENDERS)], [round_ + k for k in range(SENDERS)]
        found = made.encode_many(together, states, seeds, base=round_, seqs=seqs)
        for k in range(SENDERS):
            blob, state = made.encode(alone(together, k), states[k], seed=seeds[k], base=round_, seq=seqs[k])
            assert found[k][0] == blob
            assert (found[k][1].residual is None) == (state.residual is None)
            assert digest(found[k][1].residual or {}) == digest(state.residual or {})
            assert found[k][1].warm.keys() == state.warm.keys()
        states = [state for _, state in found]
        states[2] = None


def test_errors_are_those_of_one() -> None:
    """Numbers that do not fit together, and a sender that diverged."""
    together = updates(0)
    with pytest.raises(
        ConfigError, match=r"one update, state, seed and number for each sender\. Found \[3, 4\]"
    ):
        codec("dense").encode_many(together, [None] * SENDERS, [1, 2, 3])
    together["v"][2, 7] = np.inf
    with pytest.raises(ConfigError, match="'v'"):
        codec("dense").encode_many(together, [None] * SENDERS, [1, 2, 3, 4])
    together["v"][2, 7] = 1e30
    with pytest.raises(ConfigError, match=r"Tensor 'v': `fp16` carries"):
        codec("fp16").encode_many(together, [None] * SENDERS, [1, 2, 3, 4])
    assert codec("dense").encode_many({}, [], []) == []


def test_inputs_are_not_changed() -> None:
    """Updates and residuals are the caller's."""
    together = updates(1)
    for tensor in together.values():
        tensor.flags.writeable = False
    made = codec("ef | topk:0.1 | linear:4")
    states = [state for _, state in made.encode_many(together, [None] * SENDERS, [0] * SENDERS)]
    for state in states:
        for tensor in (state.residual or {}).values():
            tensor.flags.writeable = False
    made.encode_many(together, states, [0] * SENDERS)


@given(st.integers(0, 5), st.integers(0, 40), st.integers(1, 20), st.integers(0, 99))
def test_rows_are_packed_as_one(height: int, count: int, width: int, seed: int) -> None:
    """Bits of symbols, in every width."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, 1 << width, (height, count)).astype(bits.dtype_of(width))
    packed = bits.pack_many(rows, width)
    assert [row.tobytes() for row in packed] == [bits.pack(row, width) for row in rows]


@given(st.integers(1, 5), st.integers(0, 40), st.integers(40, 400), st.integers(0, 99))
def test_rows_of_positions_are_coded_as_one(height: int, count: int, bound: int, seed: int) -> None:
    """Positions, and which they are where many magnitudes are equal."""
    rng = np.random.default_rng(seed)
    values = rng.integers(-3, 4, (height, bound)).astype(np.float32)
    index = largest_of_each(values, count)
    np.testing.assert_array_equal(index, [largest(row, count) for row in values])
    coded = rice.encode_many(index, bound)
    assert [row.tobytes() for row in coded] == [rice.encode(row, bound) for row in index]
