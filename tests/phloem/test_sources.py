"""The door to the data: what comes through it is checked, shared, and safe to share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

from phloem.config import DataConfig
from phloem.errors import ConfigError, DataError
from phloem.plausible import checked
from phloem.sources import Federation, Samples, open_federation

USERS_OWN = """
import numpy as np
from phloem.sources import Federation, Samples

calls = []

def shops(data, seed):
    calls.append(seed)
    rng = np.random.default_rng(seed)
    def part(n):
        return Samples(rng.normal(size=(n, 3)).astype("f4"), rng.integers(0, 2, n))
    shares = tuple(part(5) for _ in range(data.clients))
    return Federation(shares, part(4), part(0), part(2).x, 2, (3,))

def nothing(data, seed):
    return None

def broken(data, seed):
    return {}["shops"]
"""


@pytest.fixture
def users_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module that a user has written, on the path."""
    (tmp_path / "users_own_data.py").write_text(USERS_OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    open_federation.cache_clear()
    yield "users_own_data"
    open_federation.cache_clear()


def part(samples: int) -> Samples:
    """Make samples of three features and two classes."""
    return Samples(np.ones((samples, 3), np.float32), np.arange(samples, dtype=np.int64) % 2)


GOOD = Federation((part(3), part(2)), part(2), part(0), part(2).x, classes=2, input_shape=(3,))


def test_the_users_own_function_is_a_source(users_module: str) -> None:
    """`module:function` is called with the settings and the seed, and its federation is used."""
    federation = open_federation(DataConfig(source=f"{users_module}:shops", clients=3), 7)
    assert [len(share) for share in federation.shares] == [5, 5, 5]
    again = open_federation(DataConfig(source=f"{users_module}:shops", clients=3), 7)
    assert again is federation, "a ClientApp asks with every message; the data are loaded once"


def test_a_source_that_returns_something_else_is_refused(users_module: str) -> None:
    """The user's mistake is named where it was made."""
    with pytest.raises(DataError, match=r"should return a phloem\.sources\.Federation\. Found NoneType"):
        open_federation(DataConfig(source=f"{users_module}:nothing"), 1)


def test_a_source_that_raises_is_told_with_its_line(users_module: str) -> None:
    """A run that many devices join ends with one line that says where to look."""
    with pytest.raises(DataError, match=r"raised KeyError: 'shops' \(.*users_own_data\.py, line 19\)"):
        open_federation(DataConfig(source=f"{users_module}:broken"), 1)


@pytest.mark.parametrize("source", ["digit", "", "DIGITS"])
def test_an_unknown_source_is_refused_with_the_known_ones(source: str) -> None:
    """A misspelt name is not taken for a module."""
    with pytest.raises(ConfigError, match=r"'digits', 'npz:…', .* or your own"):
        open_federation(DataConfig(source=source), 1)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (replace(GOOD, classes=1), "2 classes"),
        (replace(GOOD, shares=()), "1 client"),
        (replace(GOOD, shares=(part(3), part(0))), r"1 sample at least. Found none in shares\[1\]"),
        (replace(GOOD, shares=(cast("Samples", (part(3).x, part(3).y)),)), "Found tuple"),
        (replace(GOOD, input_shape=(4,)), r"shares\[0\].x .* float32 array \(n, 4\)"),
        (replace(GOOD, test=Samples(part(2).x.astype(np.float64), part(2).y)), "test.x .* Found float64"),
        (replace(GOOD, test=Samples(part(2).x, part(3).y)), r"test.y .* shape \(2,\)"),
        (replace(GOOD, test=Samples(part(2).x, part(2).y.astype(np.int32))), "test.y .* Found int32"),
        (replace(GOOD, validation=Samples(part(2).x, part(2).y + 1)), r"lie in 0\.\.1. Found 1\.\.2"),
        (replace(GOOD, validation=Samples(part(2).x, part(2).y - 1)), r"lie in 0\.\.1. Found -1\.\.0"),
        (replace(GOOD, proxy=part(2).x * np.float32("nan")), "proxy .* finite"),
        (replace(GOOD, shares=(Samples(part(1).x * np.float32("inf"), part(1).y),)), "finite"),
        (replace(GOOD, proxy=cast("NDArray[np.float32]", [1.0])), "proxy .* Found list"),
        (replace(GOOD, dropped=(np.zeros(0, np.int64),)), "`dropped` .* each of 2 clients, or none. Found 1"),
        (replace(GOOD, client_names=("ann",)), "`client_names` .* Found 1"),
        (
            replace(GOOD, concepts=(np.zeros(3, np.int32), np.zeros(3, np.int32))),
            r"concepts\[1\] .* each sample",
        ),
        (replace(GOOD, concepts=(np.zeros(3, np.int32), np.ones(2, np.int32))), r"a number in 0\.\.0"),
    ],
)
def test_a_malformed_federation_is_refused(broken: Federation, message: str) -> None:
    """Whoever wrote the source, the run does not start on data that would fail in round 3."""
    with pytest.raises(DataError, match=message):
        checked(broken, "mine:shops")


def test_a_federations_arrays_are_read_only() -> None:
    """One client's in-place change would otherwise be every client's, and the server's."""
    federation = open_federation(DataConfig(), 1)
    parts = (*federation.shares, federation.test, federation.validation)
    assert not any(p.x.flags.writeable or p.y.flags.writeable for p in parts)
    with pytest.raises(ValueError, match="read-only"):
        federation.shares[0].take(slice(0, 2)).x[:] = 0
    assert not federation.proxy.flags.writeable


def test_samples_are_taken_by_slice_and_by_index() -> None:
    """`take` keeps inputs and labels together."""
    samples = Samples(np.arange(6, dtype=np.float32).reshape(3, 2), np.array([0, 1, 2]))
    assert samples.take(slice(1, 3)).y.tolist() == [1, 2]
    chosen = samples.take(np.array([2, 0]))
    assert (chosen.x[:, 0].tolist(), chosen.y.tolist(), len(chosen)) == ([4, 0], [2, 0], 2)


def test_without_concepts_all_is_one_and_tests_are_the_test() -> None:
    """A source of one's own need not say what it does not know."""
    assert (GOOD.concept_count, GOOD.concept_at(1, 99)) == (1, 0)
    assert GOOD.concept_test(0) is GOOD.test


def test_the_concept_in_force_is_that_of_the_position_and_repeats_with_the_share() -> None:
    """Accuracy under the concept in force is measured by it."""
    views = (lambda samples: samples, lambda samples: Samples(samples.x, 1 - samples.y))
    told = replace(GOOD, concepts=(np.array([0, 0, 1]), np.array([1, 1])), views=views)
    assert [checked(told, "mine").concept_at(0, position) for position in range(6)] == [0, 0, 1, 0, 0, 1]
    assert told.concept_count == 2
    assert told.concept_test(1).y.tolist() == (1 - told.test.y).tolist()
