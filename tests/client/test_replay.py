"""The replay buffer: a fair draw from all that came, in whatever portions, and smaller on demand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phloem.client.kept import Kind, keep_inputs, restore_inputs
from phloem.client.replay import EVERY_LOT, Buffer, admit, buffer_of, forget_before, lots, recalled, shrink
from phloem.errors import ConfigError
from phloem.sources import Samples


def stream(count: int, start: int = 0) -> Samples:
    """Samples whose label tells their place."""
    places = np.arange(start, start + count)
    return Samples((places[:, None] % 256 / 255).astype(np.float32), places.astype(np.int64))


def filled(count: int, capacity: int, portion: int, seed: int) -> Buffer:
    """The buffer after a stream that came in portions."""
    buffer = None
    for start in range(0, count, portion):
        new = buffer_of(stream(min(portion, count - start), start), start, "float32")
        buffer = shrink(admit(buffer, new, seed), capacity, seed)
    assert buffer is not None
    return buffer


@given(st.integers(1, 300), st.integers(1, 60), st.integers(1, 50), st.integers(0, 2**63))
@settings(max_examples=40, deadline=None)
def test_portions_do_not_matter(count: int, capacity: int, portion: int, seed: int) -> None:
    """Protects a device that is asked for 5 samples a time and one that is asked for 50: the same is kept."""
    buffer, at_once = filled(count, capacity, portion, seed), filled(count, capacity, count, seed)
    assert len(buffer) == min(count, capacity)
    assert buffer.place.tolist() == at_once.place.tolist() == sorted(buffer.place)
    assert buffer.y.tolist() == buffer.place.tolist()


def test_every_sample_has_the_same_chance() -> None:
    """Protects the reservoir's law: early and late samples are kept alike, over many seeds."""
    counts = np.zeros(100)
    for seed in range(400):
        counts[filled(100, 20, 7, seed).place] += 1
    expected, deviation = 400 * 0.2, np.sqrt(400 * 0.2 * 0.8)
    assert abs(counts - expected).max() < 4.5 * deviation
    assert abs(counts[:50].sum() - counts[50:].sum()) < 4 * np.sqrt(400 * 20)


def test_a_smaller_buffer_is_part_of_a_larger_and_stays_fair_when_room_comes_back() -> None:
    """Protects the cap: what went for a moment's lack of bytes leaves no gap for later samples."""
    large, small = filled(200, 50, 10, 3), filled(200, 20, 10, 3)
    assert set(small.place) < set(large.place)
    again = shrink(shrink(large, 20, 3), 50, 3)
    assert again.place.tolist() == small.place.tolist()
    grown = shrink(admit(again, buffer_of(stream(200, 200), 200, "float32"), 3), 50, 3)
    share = len(np.flatnonzero(grown.place >= 200)) / len(grown)
    assert 0.3 < share < 0.7, "of a stream twice as long, half"


def test_forgetting_keeps_what_came_after_the_change() -> None:
    """Protects a client after drift: the old world is gone, the new one stays, newcomers are let in."""
    buffer = forget_before(filled(100, 40, 10, 1), 60)
    assert len(buffer)
    assert buffer.place.min() >= 60
    assert buffer.ceiling == EVERY_LOT
    edge = buffer_of(stream(10), EVERY_LOT - 5, "float32")
    assert forget_before(edge, EVERY_LOT - 2).place.tolist() == [EVERY_LOT - 2, EVERY_LOT - 1, 0, 1, 2, 3, 4]


def test_logits_go_with_their_samples() -> None:
    """Protects DER++: a sample is never recalled with another's logits."""
    samples, logits = stream(30), np.repeat(np.arange(30, dtype=np.float32)[:, None], 3, axis=1)
    buffer = shrink(buffer_of(samples, 0, "float32", logits), 7, 5)
    again, kept = recalled(buffer)
    assert kept is not None
    np.testing.assert_array_equal(kept[:, 0], again.y)
    np.testing.assert_array_equal(again.x, samples.x[again.y])
    huge = buffer_of(samples, 0, "float32", logits * 1e6)
    assert huge.logits is not None
    assert np.isfinite(huge.logits).all()


def test_items_are_counted_as_they_are_kept() -> None:
    """Protects the cap's arithmetic."""
    for kind, size in (("float32", 4), ("float16", 2), ("pixels", 1), ("symbols", 2)):
        samples = replace(stream(8), x=np.zeros((8, 3, 2), np.float32))
        buffer = buffer_of(samples, 0, kind, np.zeros((8, 5), np.float32))  # type: ignore[arg-type]
        assert buffer.item_bytes == 6 * size + 2 + 4 + 10
        assert buffer.logits is not None
        arrays = (buffer.x, buffer.y, buffer.place, buffer.logits)
        assert buffer.item_bytes * 8 == sum(array.nbytes for array in arrays)


def test_lots_differ_by_place_and_by_seed() -> None:
    """Protects fairness among clients: they do not all keep the same places."""
    places = np.arange(10_000, dtype=np.uint32)
    first, second = lots(places, 1), lots(places, 2)
    assert len(np.unique(first)) > 9_990
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.05
    assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 0.05


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("float32", [-3.25, 1e30, 0.1]),
        ("pixels", [k / 255 for k in range(256)]),
        ("symbols", [0, 1, 255, 65535]),
        ("float16", [0.5, -2.0, 1024.0]),
    ],
)
def test_what_a_kind_is_for_comes_back_exactly(kind: Kind, values: list[float]) -> None:
    """Protects replay of images and text: a quarter and a half of the bytes, and not a bit lost."""
    x = np.array(values, np.float32).reshape(-1, 1)
    np.testing.assert_array_equal(restore_inputs(keep_inputs(x, kind)), x)


def test_pixels_between_the_levels_are_rounded() -> None:
    """Protects what is documented: digits in sixteenths are off by 1/510 at most."""
    x = np.linspace(0, 1, 17, dtype=np.float32)[:, None]
    assert abs(restore_inputs(keep_inputs(x, "pixels")) - x).max() <= 1 / 510 + 1e-7


@pytest.mark.parametrize(
    ("kind", "value", "wanted"),
    [
        ("pixels", 1.5, "in 0..1"),
        ("pixels", -0.1, "in 0..1"),
        ("symbols", 0.5, "whole numbers"),
        ("symbols", 70000.0, "whole numbers"),
        ("float16", 1e5, "within 65504"),
    ],
)
def test_inputs_of_another_kind_are_refused(kind: Kind, value: float, wanted: str) -> None:
    """Protects against a buffer that silently holds other samples than came."""
    with pytest.raises(ConfigError, match=wanted):
        keep_inputs(np.array([[0.0], [value]], np.float32), kind)


def test_a_buffer_of_another_kind_and_too_many_classes_are_refused() -> None:
    """Protects a client whose settings changed under its state."""
    with pytest.raises(ConfigError, match="afresh"):
        admit(buffer_of(stream(3), 0, "float32"), buffer_of(stream(3), 3, "pixels"), 1)
    with pytest.raises(ConfigError, match="65536 classes"):
        buffer_of(stream(3, 2**16), 0, "float32")
