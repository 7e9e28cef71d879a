"""The streaming mean: equal to the textbook's, whatever the number of clients, and not above its memory."""

import tracemalloc

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from phloem.compression.update import Schema
from phloem.server.aggregate import StreamingMean


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=8), st.integers(0, 2**32 - 1))
def test_it_is_the_weighted_mean(weights: list[int], seed: int) -> None:
    """What is added to the model is sum(w x) / sum(w)."""
    rng = np.random.default_rng(seed)
    updates = [{"w": rng.normal(size=(3, 2)).astype(np.float32)} for _ in weights]
    mean = StreamingMean(Schema.of(updates[0]))
    for update, weight in zip(updates, weights, strict=True):
        mean.add(update, weight)
    model = {"w": rng.normal(size=(3, 2)).astype(np.float32)}
    expected = model["w"] + 0.5 * np.average([u["w"] for u in updates], axis=0, weights=weights)
    np.testing.assert_allclose(mean.apply_to(model, 0.5)["w"], expected, rtol=1e-5, atol=1e-6)


def test_without_replies_the_model_stays() -> None:
    """A round in which every reply was rejected changes nothing, and gives a copy."""
    model = {"w": np.ones(3, np.float32)}
    result = StreamingMean(Schema.of(model)).apply_to(model, 1.0)
    np.testing.assert_array_equal(result["w"], model["w"])
    assert not np.shares_memory(result["w"], model["w"])


def test_memory_does_not_grow_with_the_number_of_clients() -> None:
    """100 clients need what 10 need: nothing of an update is kept."""
    update = {"w": np.ones(100_000, np.float32)}

    def peak(clients: int) -> int:
        tracemalloc.start()
        mean = StreamingMean(Schema.of(update))
        for _ in range(clients):
            mean.add(update, 1)
        mean.apply_to(update, 1.0)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(100) < 1.1 * peak(10)
