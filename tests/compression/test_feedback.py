"""What senders remember: nothing is lost, or as much as is said; and momentum acts before compression."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from phloem.compression.codec import CodecState, codec
from phloem.compression.update import Schema, norm
from phloem.errors import CodecError

Floats = NDArray[np.float32]


def run(text: str, updates: list[Floats]) -> tuple[list[Floats], list[CodecState]]:
    """What arrives of a client's updates, one after another, and what the client keeps after each."""
    state, arrived, states = CodecState(), [], []
    for update in updates:
        blob, state = codec(text).encode({"w": update}, state)
        arrived.append(codec(text).decode(blob, Schema.of({"w": update}))["w"])
        states.append(state)
    return arrived, states


def noise(count: int, size: int = 60) -> list[Floats]:
    """Updates that have nothing in common."""
    rng = np.random.default_rng(1)
    return [rng.standard_normal(size, np.float32) for _ in range(count)]


def test_a_bounded_residual_is_no_longer_than_it_may_be() -> None:
    """The excess is dropped, the direction is kept; where there is no excess nothing changes."""
    updates = [*noise(20), np.zeros(60, np.float32)]
    _, free = run("ef | topk:0.02", updates)
    _, bounded = run("ef:norm=1.5 | topk:0.02", updates)
    for update, state in zip(updates[:-1], bounded, strict=False):
        assert state.residual is not None
        assert norm(state.residual) <= 1.5 * norm({"w": update}) * (1 + 1e-6)
    assert free[-2].residual is not None
    assert norm(free[-2].residual) > 2 * norm({"w": updates[-2]})
    assert bounded[-1].residual is not None
    assert norm(bounded[-1].residual) > 0
    assert (
        run("ef:norm=99 | topk:0.5", updates)[0][3].tolist() == run("ef | topk:0.5", updates)[0][3].tolist()
    )


def test_dgc_is_momentum_before_compression() -> None:
    """Value by value what the paper's algorithm does, written out."""
    updates = noise(12)
    arrived, states = run("dgc:momentum=0.8 | topk:0.1", updates)
    u, v = np.zeros(60, np.float32), np.zeros(60, np.float32)
    for update, got, state in zip(updates, arrived, states, strict=True):
        u = np.float32(0.8) * u + update
        v = v + u
        mask = np.zeros(60, bool)
        mask[np.argsort(-np.abs(v), kind="stable")[:6]] = True
        np.testing.assert_array_equal(got, np.where(mask, v, 0))
        u, v = np.where(mask, np.float32(0), u), np.where(mask, np.float32(0), v)
        assert state.residual is not None
        np.testing.assert_array_equal(state.residual["w"], v)
        np.testing.assert_array_equal(state.warm["w/velocity"], u)


def test_dgc_without_momentum_is_error_feedback() -> None:
    """The sum that arrives and the residual are then the sum of the updates."""
    updates = noise(10)
    arrived, states = run("dgc:momentum=0 | topk:0.1 | linear:4", updates)
    plain, _ = run("ef | topk:0.1 | linear:4", updates)
    np.testing.assert_array_equal(arrived, plain)
    assert states[-1].residual is not None
    total = np.sum(arrived, axis=0) + states[-1].residual["w"]
    np.testing.assert_allclose(total, np.sum(updates, axis=0), atol=1e-5)


def test_dgc_amplifies_what_stays_and_not_what_was_sent() -> None:
    """A steady direction arrives with up to 1 / (1 - momentum) of its size; masking forgets it once sent."""
    steady = np.ones(50, np.float32)
    arrived, _ = run("dgc:momentum=0.9 | topk:1", [steady] * 60)
    np.testing.assert_array_equal(arrived, np.ones((60, 50)))
    rare, _ = run("dgc:momentum=0.9 | topk:0.02", [steady] * 600)
    assert 3 <= np.sum(rare) / (600 * 50) <= 10


def test_dgc_starts_anew_with_another_model() -> None:
    """A velocity of another shape is left."""
    _, state = codec("dgc | topk:0.5").encode({"w": np.ones(8, np.float32)})
    other = {"w": np.ones(9, np.float32)}
    fresh = CodecState(warm=state.warm)
    assert codec("dgc | topk:0.5").encode(other, fresh)[0] == codec("dgc | topk:0.5").encode(other)[0]


def test_the_receiver_does_not_know() -> None:
    """Feedback is not on the wire, so a sender may change it."""
    assert codec("dgc | topk:0.5").wire_text == codec("ef:norm=2 | topk:0.5").wire_text == "topk:0.5"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("ef:norm=0 | dense", "`norm` of `ef` should be positive. Found 0.0"),
        ("dgc:momentum=1 | dense", "below 1. Found 1.0"),
        ("dgc", "`dgc` should be followed by a codec"),
        ("ef | dgc | dense", "`dgc` should come once and first"),
        ("dense | dgc", "`dgc` should come once and first"),
    ],
)
def test_what_cannot_work(text: str, complaint: str) -> None:
    """Wrong parameters and wrong places are refused when the codec is made."""
    with pytest.raises(CodecError, match=complaint):
        codec(text)
