"""`dither`: on average nothing is lost, and what travels is few values, all multiples of one step."""

from __future__ import annotations

import numpy as np
import pytest

from phloem.compression.codec import codec
from phloem.compression.update import Schema, add, nmse
from phloem.errors import CodecError
from tests.compression.cases import Arrays

SENDERS = 400


def heavy(seed: int = 1) -> Arrays:
    """Two tensors of very different sizes, with exact zeros, and one of zeros alone."""
    rng = np.random.default_rng(seed)
    update: Arrays = {
        "w": (rng.standard_normal((40, 60)) ** 3).astype(np.float32),
        "b": rng.standard_normal(30, np.float32) * np.float32(0.1),
        "none": np.zeros((4, 5), np.float32),
    }
    update["w"][::3] = 0
    return update


@pytest.mark.parametrize("fraction", [0.003, 0.05, 0.4])
def test_it_is_right_on_average(fraction: float) -> None:
    """The mean over senders errs by one over their number: no bias is left that a round could not average."""
    update = heavy()
    made, schema = codec(f"dither:{fraction}"), Schema.of(update)
    total = {name: np.zeros_like(tensor) for name, tensor in update.items()}
    one = 0.0
    for seed in range(SENDERS):
        decoded = made.decode(made.encode(update, seed=seed)[0], schema)
        one += nmse(update, decoded) / SENDERS
        total = add(total, decoded)
    mean = {name: tensor / np.float32(SENDERS) for name, tensor in total.items()}
    assert nmse(update, mean) <= 1.3 * one / SENDERS
    assert not mean["w"][::3].any()
    assert not mean["none"].any()


def test_as_many_travel_as_were_asked_for() -> None:
    """The fraction is of all values of the update, as an expectation; all are multiples of one step."""
    update = heavy()
    made, schema = codec("dither:0.02"), Schema.of(update)
    wanted = 0.02 * schema.parameters
    counts = []
    for seed in range(50):
        decoded = made.decode(made.encode(update, seed=seed)[0], schema)
        values = np.concatenate([tensor.ravel() for tensor in decoded.values()])
        sizes = np.abs(values[values != 0])
        counts.append(sizes.size)
        np.testing.assert_allclose(sizes / sizes.min(), np.rint(sizes / sizes.min()))
    assert abs(np.mean(counts) - wanted) <= 0.05 * wanted


def test_more_bytes_less_error() -> None:
    """The fraction is what error is bought with."""
    update = heavy()
    sizes, errors = [], []
    for text in ("dither:0.002", "dither:0.01", "dither:0.05", "dither:0.2"):
        blobs = [codec(text).encode(update, seed=seed)[0] for seed in range(20)]
        sizes.append(np.mean([len(blob) for blob in blobs]))
        decoded = [codec(text).decode(blob, Schema.of(update)) for blob in blobs]
        errors.append(np.mean([nmse(update, one) for one in decoded]))
    assert sizes == sorted(sizes)
    assert errors == sorted(errors, reverse=True)


def test_it_decodes_what_rdo_decodes() -> None:
    """The frames are those of `rdo`: a receiver needs no other decoder."""
    update = heavy()
    blob, _ = codec("dither:0.05").encode(update, seed=3)
    found = codec("rdo:bpp=1").decode(blob, Schema.of(update))
    expected = codec("dither:0.05").decode(blob, Schema.of(update))
    assert all((found[name] == expected[name]).all() for name in update)


@pytest.mark.parametrize("text", ["dither:0", "dither:1.5", "dither:nan"])
def test_parameters_out_of_range(text: str) -> None:
    """A share that makes no sense is refused when the codec is made."""
    with pytest.raises(CodecError, match="`fraction` of `dither` should be above 0"):
        codec(text)
