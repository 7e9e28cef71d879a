"""Tables: inputs take one shape and scale whatever they come in, and bad ones are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from phloem.errors import DataError
from phloem.simulation.data.table import MAX_CLASSES, as_inputs, check_inputs, check_labels


def test_bytes_are_scaled_and_everything_else_is_only_cast() -> None:
    """uint8 means an image; other numbers are the user's own scale."""
    np.testing.assert_array_equal(as_inputs(np.array([[0, 255]], np.uint8)), [[0, 1]])
    np.testing.assert_array_equal(as_inputs(np.array([[0, 255]], np.int16)), [[0, 255]])
    np.testing.assert_array_equal(as_inputs(np.array([[True, False]])), [[1, 0]])


@pytest.mark.parametrize("kind", ["u1", "i4", "f2", "f4", "f8", ">f8", "?"])
def test_inputs_are_contiguous_float32_and_not_the_tables_own(kind: str) -> None:
    """Whatever the dtype, and without a change of the array that was read."""
    x = np.ones((3, 4, 4), kind)
    before = x.copy()
    inputs = as_inputs(x)
    assert inputs.dtype == np.float32
    assert inputs.flags.c_contiguous
    assert np.array_equal(x, before)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((5, 7), (5, 7)),
        ((5, 28, 20), (5, 1, 28, 20)),
        ((5, 3, 32, 32), (5, 3, 32, 32)),
        ((5, 32, 32, 3), (5, 3, 32, 32)),
        ((5, 32, 32, 1), (5, 1, 32, 32)),
        ((5, 3, 32, 3), (5, 3, 32, 3)),
        ((5, 16, 32, 32), (5, 16, 32, 32)),
    ],
)
def test_images_have_their_channels_first(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    """A convolution would take a last axis of channels for a width."""
    assert as_inputs(np.zeros(shape, np.float32)).shape == expected


def test_turning_channels_round_keeps_each_pixel() -> None:
    """Axes move, values do not."""
    x = np.arange(2 * 5 * 6 * 3, dtype=np.float32).reshape(2, 5, 6, 3)
    assert as_inputs(x)[1, 2, 3, 4] == x[1, 3, 4, 2]


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.array([["a"]]), "real numbers. Found <U1"),
        (np.zeros((2, 2), complex), "real numbers. Found complex128"),
        (np.zeros((2, 2), "M8[s]"), "real numbers"),
        (np.zeros(4), r"shape \(n, ...\)"),
        (np.float64(3), r"shape \(n, ...\)"),
        (np.zeros((0, 3)), "no axis empty"),
        (np.zeros((3, 0)), "no axis empty"),
        (np.array([[1.0], [np.nan]]), "finite .* the first is row 1"),
        (np.array([[-np.inf]]), "finite"),
        (np.array([[1e39]]), "finite in float32"),
        (np.vstack([np.zeros((5000, 1)), [[np.inf]]]), "the first is row 5000"),
    ],
)
def test_bad_inputs_are_refused(x: NDArray[Any], message: str) -> None:
    """NaN is not let through, nor what becomes infinite in float32."""
    with pytest.raises(DataError, match=message):
        check_inputs(np.asarray(x), "x")


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.array([0.0, 1.0]), "integer labels"),
        (np.array(["a", "b"]), "integer labels"),
        (np.array([0, 1, 2]), r"shape \(2,\)"),
        (np.array([[0], [1]]), r"shape \(2,\)"),
        (np.array([-1, 1]), r"Found -1\.\.1"),
        (np.array([0, MAX_CLASSES]), "at most"),
        (np.array([0, 2**64 - 1], np.uint64), "at most"),
    ],
)
def test_bad_labels_are_refused(y: NDArray[Any], message: str) -> None:
    """Labels number the classes from 0, one a row."""
    with pytest.raises(DataError, match=message):
        check_labels(y, 2, "y")


@pytest.mark.parametrize("kind", ["u1", "i1", "u8", ">i4", "?"])
def test_good_labels_become_int64(kind: str) -> None:
    """Any integers will do."""
    y = check_labels(np.array([0, 1], kind), 2, "y")
    assert y.dtype == np.int64
    assert y.tolist() == [0, 1]
