"""Weights on few levels: what is learned with is shipped; factors multiply to the matrix; files reopen."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from phloem.compression.codec import codec
from phloem.compression.update import Schema
from phloem.errors import ConfigError, CorruptUpdate
from phloem.server.shrink.few_levels import round_inputs, round_weights, settle, share_weights
from phloem.server.shrink.lessons import Lesson, ask, teach
from phloem.server.shrink.lowrank import factorised
from phloem.server.shrink.network import folded, parameters, predict, weighty
from phloem.server.shrink.store import pack, unpack
from tests.server.shrink.networks import images, normed

BOOK = "parametrizations.weight.0.book"


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_rounded_weights_are_on_the_codecs_grid(bits: int) -> None:
    """After lessons, the codec loses no more than the rounding of its scales, up to 1/128."""
    network = folded(normed())
    round_weights(network, bits)
    teach(network, ask(normed(), images(50), count=100, seed=1), Lesson(steps=3), seed=1)
    settle(network)
    for layer in weighty(network).values():
        weight = layer.get_parameter("weight").detach().numpy()
        levels = max(1, 2 ** (bits - 1) - 1)
        largest = np.abs(weight).reshape(len(weight), -1).max(1).reshape(-1, *[1] * (weight.ndim - 1))
        np.testing.assert_allclose(weight / largest * levels, np.round(weight / largest * levels), atol=1e-3)
        update = {"w": weight}
        coded = codec(f"linear:{bits},per=channel")
        back = coded.decode(coded.encode(update)[0], Schema.of(update))["w"]
        assert (np.abs(back - weight) <= np.abs(weight) / 100 + 1e-6).all()


def test_shared_weights_learn_together() -> None:
    """A layer ends with as many values as its book has, and they are not those it began with."""
    network = folded(normed())
    share_weights(network, 4)
    before = {name: layer.state_dict()[BOOK].numpy().copy() for name, layer in weighty(network).items()}
    teach(network, ask(normed(), images(50), count=100, seed=1), Lesson(steps=3), seed=1)
    settle(network)
    for name, layer in weighty(network).items():
        values = np.unique(layer.get_parameter("weight").detach().numpy())
        assert len(values) <= 4
        assert not np.array_equal(values, before[name])


def test_rounded_inputs_change_little_and_leave_with_their_hooks() -> None:
    """Eight bits over the measured range; nothing stays behind."""
    network, x = folded(normed()), images(50)
    plain = predict(network, x)
    hooks = round_inputs(network, x)
    rounded = predict(network, x)
    for hook in hooks:
        hook.remove()
    assert 0 < np.abs(rounded - plain).max() < 0.1 * np.abs(plain).max()
    assert (predict(network, x) == plain).all()


def test_factors_with_all_the_rank_they_may_have_come_close() -> None:
    """They keep to their share of the weights, and the best rank leaves the least error."""
    network, x = folded(normed()), images(50)
    errors = []
    for share in (0.2, 0.5, 0.9):
        small = factorised(network, share)
        assert parameters(small) < parameters(network)
        errors.append(float(np.abs(predict(small, x) - predict(network, x)).mean()))
    assert errors == sorted(errors, reverse=True)
    with pytest.raises(ConfigError, match="between 0 and 1"):
        factorised(network, 1.0)


def test_factors_of_a_low_rank_matrix_are_exact() -> None:
    """A layer of rank 2 has lost nothing when it became two."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(40, 30)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(30, 2) @ torch.randn(2, 40))
    network = torch.nn.Sequential(torch.nn.Flatten(), layer, torch.nn.ReLU(), torch.nn.Linear(30, 10))
    small = factorised(network, 0.3)
    assert parameters(small) < parameters(network)
    x = np.random.default_rng(0).random((5, 40), np.float32)
    np.testing.assert_allclose(predict(small, x), predict(network, x), atol=1e-4)


def test_the_output_layer_keeps_its_rank() -> None:
    """Ten classes behind four numbers would be ten guesses; it stays as it is."""
    network = folded(normed())
    small = factorised(network, 0.3)
    assert (
        small.get_submodule("output").get_parameter("weight") == network.get_parameter("output.weight")
    ).all()


CODECS = {"a": "linear:3,per=channel | rans", "b": "bf16 | zstd", "c": "linear:3,per=channel | rans"}
WEIGHTS = {
    "a": np.random.default_rng(0).standard_normal((8, 30)).astype("f4"),
    "b": np.arange(8, dtype="f4"),
    "c": np.random.default_rng(1).standard_normal((4, 8)).astype("f4"),
}


def test_a_packed_model_comes_back_in_order() -> None:
    """Each tensor by its own codec, for fewer bytes than float32."""
    data = pack(WEIGHTS, CODECS)
    back = unpack(data, Schema.of(WEIGHTS), CODECS)
    assert list(back) == list(WEIGHTS)
    assert (back["b"] == WEIGHTS["b"]).all()
    assert len(data) < sum(tensor.nbytes for tensor in WEIGHTS.values()) / 2
    with pytest.raises(ConfigError, match="Every tensor should have a codec"):
        pack(WEIGHTS, {"a": "fp16"})


@given(st.integers(0, len(pack(WEIGHTS, CODECS)) - 1), st.integers(1, 255), st.booleans())
def test_a_damaged_model_does_not_open(at: int, flip: int, cut: bool) -> None:
    """Whatever byte is altered and wherever the file ends."""
    data = bytearray(pack(WEIGHTS, CODECS))
    data[at] ^= flip
    with pytest.raises(CorruptUpdate):
        unpack(bytes(data[:at] if cut else data), Schema.of(WEIGHTS), CODECS)
