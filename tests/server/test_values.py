"""States as JSON and bytes: what comes back is what went in, and what did not change is not written again."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from phloem.server.values import Parts, unpack


@dataclass(frozen=True)
class Inner:
    """A value within a value."""

    blob: bytes
    sizes: tuple[tuple[str, int], ...]
    maybe: Mapping[str, NDArray[np.float32]] | None = None


@dataclass(frozen=True)
class Outer:
    """One of everything that a state may hold."""

    number: int
    share: float
    name: str
    yes: bool
    names: frozenset[str]
    inner: Inner
    many: Mapping[int, Inner]
    arrays: Mapping[str, NDArray[np.float64]]
    pair: tuple[int, str]


def arrays() -> dict[str, NDArray[np.float64]]:
    rng = np.random.default_rng(0)
    return {"z": rng.normal(size=(2, 3)).T, "a": rng.normal(size=()), "m": np.array([-0.0, 1e-300])}


def outer() -> Outer:
    first = Inner(b"\x00\xff", (("dense", 4), ("zstd", 3)))
    second = Inner(b"", (), {"w": np.array([1, 2], np.float32)})
    return Outer(
        3, 0.1, "\u00e9\n", True, frozenset({"b", "a"}), first, {7: second, 2: first}, arrays(), (1, "x")
    )


def same(left: object, right: object) -> bool:
    if isinstance(left, np.ndarray):
        return (
            isinstance(right, np.ndarray)
            and (left.dtype, left.shape) == (right.dtype, right.shape)
            and left.tobytes() == right.tobytes()
        )
    if isinstance(left, Mapping):
        return (
            isinstance(right, Mapping)
            and list(left) == list(right)
            and all(same(left[k], right[k]) for k in left)
        )
    if dataclasses.is_dataclass(left):
        return type(left) is type(right) and all(
            same(getattr(left, f.name), getattr(right, f.name)) for f in dataclasses.fields(left)
        )
    return left == right


def test_what_comes_back_is_what_went_in() -> None:
    """Protects resumed runs: every bit, every order, through JSON."""
    value = outer()
    tree, new, names = Parts().pack(value)
    assert set(new) == names
    found = unpack(Outer, json.loads(json.dumps(tree)), new)
    assert same(value, found)
    assert found.many[7].maybe is not None
    assert found.inner.maybe is None


def test_what_did_not_change_is_not_written_again() -> None:
    """Protects the cost of a checkpoint: arrays that are still the same object have been written."""
    parts, value = Parts(), outer()
    _, first, names = parts.pack(value)
    tree, second, again = parts.pack(dataclasses.replace(value, number=4, arrays=arrays()))
    assert len(second) == 1
    assert len(again) == len(names)
    assert same(unpack(Outer, tree, {**first, **second}), dataclasses.replace(value, number=4))


def test_a_state_holds_nothing_else() -> None:
    """Protects checkpoints from state that would be lost in them: what cannot be written is an error."""
    with pytest.raises(TypeError, match="A state should hold"):
        Parts().pack({"generator": np.random.default_rng(0)})
