"""Flower's rules behind the checks: what they make of honest updates, and of one that is not."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from phloem.compression.update import Schema, Update
from phloem.config import Experiment, ServerConfig
from phloem.server.aggregate import Gathering, StreamingMean, clipped
from phloem.server.strategy_rules import step_of

ROBUST = ("fedmedian", "fedtrimmedavg", "krum", "multikrum", "bulyan")
OPTIMIZERS = ("fedavgm", "fedadam", "fedyogi")
HONEST = 9


def config(aggregation: str, **changes: object) -> ServerConfig:
    values = {"aggregation": aggregation, **changes}
    return Experiment().with_values({f"server.{key}": value for key, value in values.items()}).server


def update(seed: int, scale: float = 1.0) -> Update:
    rng = np.random.default_rng(seed)
    return {
        name: np.asarray(1 + scale * rng.normal(size=shape), np.float32)
        for name, shape in (("w", (3, 4)), ("scalar", ()), ("b", (4,)))
    }


def same(left: Mapping[str, NDArray[np.float64]], right: Mapping[str, NDArray[np.float64]]) -> bool:
    return list(left) == list(right) and all(np.array_equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("name", ["fedavg", *ROBUST])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 10])
def test_clients_that_agree_are_believed(name: str, count: int) -> None:
    """Protects every rule at every number of replies: what all say is what comes out, exactly."""
    one = update(0)
    step, memory = step_of(config(name), [one] * count, [10] * count, {}, 1)
    assert memory == {}
    assert list(step) == list(one)
    for tensor in one:
        np.testing.assert_allclose(step[tensor], one[tensor], rtol=1e-12)


@pytest.mark.parametrize("name", ROBUST)
@pytest.mark.parametrize("scale", [-10.0, 1e6, -1e30])
def test_one_in_ten_cannot_leave_the_others_range(name: str, scale: float) -> None:
    """Protects the model: whatever one client sends, every weight stays within what the honest ones sent."""
    honest = [update(seed) for seed in range(HONEST)]
    hostile = {tensor: np.asarray(scale * value, np.float32) for tensor, value in update(99).items()}
    updates = [*honest[:4], hostile, *honest[4:]]
    step, _ = step_of(config(name), updates, [1] * 4 + [100_000] + [1] * 5, {}, 1)
    for tensor, value in step.items():
        found = np.stack([one[tensor] for one in honest]).astype(np.float64)
        assert (value >= found.min(axis=0) - 1e-9).all()
        assert (value <= found.max(axis=0) + 1e-9).all()


def test_the_mean_is_flowers() -> None:
    """Protects the default: the mean that is taken one update at a time is that of Flower's FedAvg."""
    updates, weights = [update(seed) for seed in range(5)], [3, 1, 4, 1, 5]
    mean = StreamingMean(Schema.of(updates[0]))
    for one, weight in zip(updates, weights, strict=True):
        mean.add(one, weight)
    zeros = {name: np.zeros_like(tensor) for name, tensor in updates[0].items()}
    found = mean.apply_to(zeros, 1.0)
    step, _ = step_of(config("fedavg"), updates, weights, {}, 1)
    for name in zeros:
        np.testing.assert_allclose(found[name], step[name], rtol=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_remembers_by_value(name: str) -> None:
    """Protects resumed runs: the next step depends on the memory that is given, on nothing in the process."""
    rounds = [[update(10 * n + seed) for seed in range(3)] for n in range(3)]
    memory: Mapping[str, NDArray[np.float64]] = {}
    memories, steps = [memory], []
    for number, updates in enumerate(rounds, start=1):
        step, memory = step_of(config(name), updates, [1, 2, 3], memory, number)
        memories.append(memory)
        steps.append(step)
    assert all(memories[1:])
    for number in (3, 1, 2):
        again, after = step_of(config(name), rounds[number - 1], [1, 2, 3], memories[number - 1], number)
        assert same(again, steps[number - 1])
        assert same(after, memories[number])


def test_momentum_is_momentum() -> None:
    """Protects fedavgm's law: m = momentum * m + mean, and the step is m."""
    first, second = update(1), update(2)
    step, memory = step_of(config("fedavgm", momentum=0.5), [first], [1], {}, 1)
    again, _ = step_of(config("fedavgm", momentum=0.5), [second], [1], memory, 2)
    for name in first:
        np.testing.assert_allclose(step[name], first[name], rtol=1e-12)
        np.testing.assert_allclose(again[name], 0.5 * first[name].astype(float) + second[name], rtol=1e-6)


@given(st.lists(st.floats(0.01, 1000), min_size=1, max_size=9), st.floats(0.5, 4))
def test_no_update_is_longer_than_the_cohort_allows(lengths: list[float], factor: float) -> None:
    """Protects the mean from one long update: directions stay, and who is short enough is left alone."""
    updates = [{"w": np.array([length, 0], np.float32)} for length in lengths]
    longest = factor * float(np.median([u["w"][0] for u in updates]))
    for before, after in zip(updates, clipped(updates, factor), strict=True):
        assert after["w"][0] <= longest * (1 + 1e-6)
        assert after["w"][1] == 0
        if before["w"][0] <= longest:
            assert after is before


def test_a_weight_cap_is_a_cap() -> None:
    """Protects the mean from one who says that it saw a hundred thousand samples."""
    left, right = update(1), update(2)
    schema = Schema.of(left)
    zeros = {name: np.zeros_like(tensor) for name, tensor in left.items()}
    found = []
    for samples, cap in ((100_000, 10), (10, 0)):
        gathering = Gathering(schema, config("fedavg", weight_cap=cap))
        gathering.add(left, samples)
        gathering.add(right, 10)
        found.append(gathering.apply_to(zeros, {}, 1)[0])
    assert all(np.array_equal(found[0][name], found[1][name]) for name in zeros)
