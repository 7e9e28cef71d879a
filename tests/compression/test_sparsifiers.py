"""What each sparsifier beside plain `topk` promises: what it keeps, and that it keeps it where it was."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from phloem.compression.codec import codec
from phloem.compression.plan import read_numbers, write_numbers
from phloem.compression.randk import chosen
from phloem.compression.threshold import Threshold
from phloem.compression.update import Schema, nmse
from phloem.errors import CodecError, ConfigError, CorruptUpdate
from tests.compression.cases import Arrays, through

Floats = NDArray[np.float32]

vectors = arrays(np.float32, st.integers(0, 80), elements=st.floats(-8, 8, width=32))


def decoded(text: str, update: Arrays, importance: Arrays | None = None) -> Arrays:
    """An update as it arrives."""
    blob, _ = codec(text).encode(update, importance=importance)
    return dict(codec(text).decode(blob, Schema.of(update)))


@given(vectors, st.sampled_from([1e-30, 0.5, 1.0, 7.5, 100.0]))
def test_threshold_keeps_what_is_large_enough(vector: Floats, magnitude: float) -> None:
    """Neither more nor less, and exactly; all or nothing too."""
    expected = np.where(np.abs(vector) >= np.float32(magnitude), vector, 0)
    np.testing.assert_array_equal(through(f"threshold:{magnitude}", vector), expected)


@given(vectors, st.sampled_from([1e-30, 0.5, 1.0, 7.5, 100.0]))
def test_soft_solves_the_penalised_problem(vector: Floats, strength: float) -> None:
    """Bit for bit w - sign(w) * strength, and exact zeros where that changes the sign."""
    shrunk = vector - np.copysign(np.float32(strength), vector)
    expected = np.where(np.abs(vector) > np.float32(strength), shrunk, 0)
    np.testing.assert_array_equal(through(f"soft:{strength}", vector), expected)


def test_numbers_travel_and_are_bounded() -> None:
    """How many values stay is read before anything is sized by it, and cannot exceed the tensor."""
    stages = (Threshold(1.0), Threshold(2.0))
    data = write_numbers((200, 30), (300, 200))
    assert len(data) == 3
    assert read_numbers(stages, (300,), data) == (200, 30)
    for wrong in (write_numbers((301, 30), (300, 200)), write_numbers((20, 30), (300, 200)), data[:2]):
        with pytest.raises(CorruptUpdate, match="A number should be at most"):
            read_numbers(stages, (300,), wrong)


def test_topk_of_the_whole_update() -> None:
    """Tensors compete: as many values stay as asked for, the largest of all, first ones first."""
    rng = np.random.default_rng(1)
    update: Arrays = {name: rng.integers(-4, 5, 50).astype(np.float32) for name in "abc"}
    update["a"] *= 10
    update["none"] = np.zeros((0, 3), np.float32)
    got = decoded("topk:0.3,scope=update", update)
    together, arrived = (np.concatenate([u[k] for k in "abc"]) for u in (update, got))
    places = np.sort(np.argsort(-np.abs(together), kind="stable")[:45])
    assert math.ceil(0.3 * together.size) == 45
    expected = np.zeros_like(together)
    expected[places] = together[places]
    np.testing.assert_array_equal(arrived, expected)
    assert nmse(update, got) < nmse(update, decoded("topk:0.3", update))


@pytest.mark.parametrize("scope", ["", ",scope=update"])
@pytest.mark.parametrize("ranked", ["", ",by=importance"])
def test_a_warm_up_begins_with_more(scope: str, ranked: str) -> None:
    """Deep gradient compression's own schedule, counted by the state and read by a receiver that has none."""
    update: Arrays = {"w": np.random.default_rng(7).standard_normal((40, 250), np.float32)}
    made = codec(f"topk:0.001{scope}{ranked},warmup=4")
    state, kept = None, []
    for _ in range(6):
        blob, state = made.encode(update, state, importance=update)
        kept.append(np.count_nonzero(made.decode(blob, Schema.of(update))["w"]))
    assert kept == [2512, 631, 159, 40, 10, 10]
    again, _ = made.encode(update, None, importance=update)
    assert np.count_nonzero(made.decode(again, Schema.of(update))["w"]) == 2512


def test_a_warm_up_counts_only_what_it_counted() -> None:
    """Whatever another codec left in the state, a warm-up begins at its beginning."""
    update: Arrays = {"w": np.random.default_rng(8).standard_normal((30, 40), np.float32)}
    _, state = codec("lowrank:1").encode(update)
    warmed = codec("topk:0.01,warmup=1")
    assert warmed.encode(update, state)[0] == warmed.encode(update)[0]
    _, state = warmed.encode(update)
    assert len(codec("lowrank:1").encode(update, state)[0]) > 0


def test_importance_decides_in_place_of_magnitude() -> None:
    """What the caller finds important stays, small or not, in each tensor or over all of them."""
    rng = np.random.default_rng(2)
    update: Arrays = {name: rng.standard_normal((6, 5), np.float32) for name in "ab"}
    importance: Arrays = {name: np.zeros((6, 5), np.float32) for name in "ab"}
    importance["a"][2] = [1, 2, 3, 4, 5]
    importance["b"][4] = -1
    got = decoded("topk:0.15,by=importance", update, importance)
    for name, row in (("a", 2), ("b", 4)):
        np.testing.assert_array_equal(got[name][row], update[name][row])
        assert np.count_nonzero(got[name]) == 5
    got = decoded("topk:0.05,by=importance,scope=update", update, importance)
    np.testing.assert_array_equal(got["a"][2], [0, 0, *update["a"][2, 2:]])
    assert not got["b"].any()
    got = decoded("channels:0.1,by=importance", update, importance)
    np.testing.assert_array_equal(got["a"][2], update["a"][2])
    np.testing.assert_array_equal(got["b"][4], update["b"][4])
    assert np.count_nonzero(got["a"]) == np.count_nonzero(got["b"]) == 5


def test_importance_has_to_be_there_and_to_fit() -> None:
    """A codec that ranks by importance and gets none says so; one that does not takes no notice of it."""
    update: Arrays = {"w": np.ones((3, 4), np.float32)}
    ranked = codec("topk:0.5,by=importance")
    with pytest.raises(ConfigError, match="`by=importance` and `by=information` need to be told it"):
        ranked.encode(update)
    with pytest.raises(ConfigError, match="should have the tensors"):
        ranked.encode(update, importance={"w": np.ones((4, 3), np.float32)})
    with pytest.raises(ConfigError, match="Importance should be finite"):
        ranked.encode(update, importance={"w": np.full((3, 4), np.nan, np.float32)})
    plain = codec("topk:0.5")
    assert plain.encode(update, importance={"w": np.zeros(1, np.float32)})[0] == plain.encode(update)[0]


def test_randk_sends_no_positions() -> None:
    """Four bytes choose, as many as asked for, each equally often, and what is chosen is exact."""
    vector = np.random.default_rng(3).standard_normal(200, np.float32)
    blob, _ = codec("randk:0.1").encode({"w": vector})
    assert len(blob) <= 64 + 4 + 4 + 4 * 20
    counts = np.zeros(200)
    for seed in range(500):
        found = through("randk:0.1", vector, seed)
        counts += found != 0
        np.testing.assert_array_equal(found[found != 0], vector[found != 0])
    assert counts.sum() == 500 * 20
    assert np.abs(counts - 50).max() <= 5 * math.sqrt(50 * 0.9)


def test_randk_is_unbiased_where_asked() -> None:
    """Scaled by one over the fraction, the mean over seeds is the tensor; the error is n / k - 1 squares."""
    vector = np.random.default_rng(4).standard_normal(300, np.float32)
    arrived = [through("randk:0.25,scale=unbiased", vector, seed) for seed in range(600)]
    one = np.mean([nmse({"w": vector}, {"w": found}) for found in arrived])
    assert one == pytest.approx(3, rel=0.05)
    mean = np.asarray(np.mean(arrived, axis=0, dtype=np.float64), np.float32)
    assert nmse({"w": vector}, {"w": mean}) <= 1.3 * one / 600


def test_the_draw_is_pinned() -> None:
    """Positions are part of the format: they must not change with a version of NumPy."""
    seed = np.array([2026], np.uint32)
    assert chosen(seed, 5, 1000).tolist() == [405, 667, 804, 871, 906]
    assert chosen(seed, 0, 10).tolist() == []
    assert chosen(seed, 10, 10).tolist() == list(range(10))


@given(arrays(np.float32, (7, 3, 2), elements=st.floats(-8, 8, width=32)), st.sampled_from([0.1, 0.5, 1.0]))
def test_channels_keep_whole_rows(tensor: Floats, fraction: float) -> None:
    """The longest rows stay, exactly, and the others are zero; vectors pass."""
    got = through(f"channels:{fraction}", tensor)
    norms = np.sqrt(np.square(tensor.astype(np.float64)).sum(axis=(1, 2)))
    places = np.argsort(-norms, kind="stable")[: math.ceil(fraction * 7)]
    expected = np.zeros_like(tensor)
    expected[places] = tensor[places]
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(through("channels:0.1", tensor.ravel()), tensor.ravel())


@pytest.mark.parametrize(
    "ladder",
    [
        [f"threshold:{magnitude}" for magnitude in (3, 2, 1, 0.5, 0.1)],
        [f"soft:{strength}" for strength in (3, 2, 1, 0.5, 0.1)],
        [f"topk:{fraction},scope=update" for fraction in (0.001, 0.01, 0.1, 0.3, 1)],
        [f"randk:{fraction}" for fraction in (0.001, 0.01, 0.1, 0.3, 1)],
        [f"channels:{fraction}" for fraction in (0.05, 0.1, 0.3, 1)],
    ],
)
def test_more_bytes_less_error(ladder: list[str]) -> None:
    """A larger share costs more and loses less, so a search over it can be trusted."""
    tensor = np.random.default_rng(6).standard_normal((20, 200), np.float32)
    sizes = [len(codec(text).encode({"w": tensor})[0]) for text in ladder]
    errors = [nmse({"w": tensor}, {"w": through(text, tensor)}) for text in ladder]
    assert sizes == sorted(set(sizes))
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("threshold:0", "above 0 and below 1e38. Found 0.0. Use `topk`"),
        ("threshold:inf", "Found inf"),
        ("soft:nan", "Found nan"),
        ("randk:0", "`fraction` of `randk`"),
        ("randk:0.1,scale=up", "one of nearest, unbiased. Found 'up'"),
        ("channels:1.5", "`fraction` of `channels`"),
        ("channels:0.5,by=luck", "one of magnitude, importance, information. Found 'luck'"),
        (
            "topk:0.5,by=information",
            "`by` of `topk` should be one of magnitude, importance. Found 'information'",
        ),
        ("topk:0.5,by=luck", "`by` of `topk`"),
        ("topk:0.5,warmup=-1", "`warmup` of `topk` should be a number of updates"),
        ("topk:0.5,warmup=2.5", "`warmup` of `topk` should be a whole number"),
        ("topk:0.5,scope=world", "one of tensor, update. Found 'world'"),
        ("topk:0.5 | topk:0.5,scope=update", "should come first: it looks at whole tensors"),
        ("channels:0.5 | topk:0.5,by=importance", "should come first"),
    ],
)
def test_parameters_out_of_range(text: str, complaint: str) -> None:
    """A parameter that makes no sense is refused when the codec is made."""
    with pytest.raises(CodecError, match=complaint):
        codec(text)
