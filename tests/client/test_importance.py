"""What is important is what the loss would miss, or what knows the label; and nothing else is."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from phloem.client.importance import MOST_SAMPLES, information, measure, mutual_information, taylor
from phloem.client.models.build import build_model, load_weights, weights_of
from phloem.compression.codec import codec
from phloem.compression.update import Schema
from phloem.config import ModelConfig
from phloem.errors import ConfigError
from phloem.sources import Samples

CNN = ModelConfig(name="cnn", channels=(6,), hidden=(8,))


def samples_of(count: int = 400, seed: int = 1) -> Samples:
    """Samples of four classes that show in their inputs."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 4, count)
    x = rng.standard_normal((count, 1, 6, 6)) + y[:, None, None, None]
    return Samples(x.astype(np.float32), y)


def loss_of(module: nn.Module, samples: Samples) -> float:
    """The cross-entropy on all samples."""
    with torch.no_grad():
        logits = module(torch.tensor(samples.x))
        return float(functional.cross_entropy(logits, torch.tensor(samples.y)))


@pytest.mark.parametrize("name", ["cnn", "users_models:normalised", "users_models:two_biases"])
def test_importance_has_the_shapes_of_the_weights(name: str) -> None:
    """It goes where an update goes: one number for every value, finite and not negative."""
    module = build_model(ModelConfig(name=name), (1, 6, 6), 4, seed=1)
    module.train()
    before = weights_of(module)
    for found in (taylor(module, samples_of()), mutual_information(module, samples_of())):
        assert Schema.of(found) == Schema.of(before)
        assert all((tensor >= 0).all() and np.isfinite(tensor).all() for tensor in found.values())
    assert all(part.training for part in module.modules())
    after = weights_of(module)
    assert all((before[key] == after[key]).all() for key in before)


def test_zero_weights_have_no_importance() -> None:
    """To leave out what is zero changes nothing."""
    module = build_model(CNN, (1, 6, 6), 4, seed=1)
    weights = weights_of(module)
    weights["conv1.weight"][2] = 0
    weights["output.weight"][:, 3] = 0
    with torch.no_grad():
        load_weights(module, weights)
    found = taylor(module, samples_of())
    assert not found["conv1.weight"][2].any()
    assert not found["output.weight"][:, 3].any()
    assert found["output.weight"].any()


def test_taylor_predicts_the_change_of_the_loss() -> None:
    """To first order, for single weights and for a small update that is handed in."""
    module = build_model(CNN, (1, 6, 6), 4, seed=1)
    samples, weights = samples_of(), weights_of(module)
    update = {name: np.full(tensor.shape, 1e-3, np.float32) for name, tensor in weights.items()}
    found = taylor(module, samples, update)
    base = loss_of(module, samples)
    for name, place in (("conv1.weight", (1, 0, 1, 1)), ("hidden1.bias", (2,)), ("output.weight", (1, 2))):
        changed = {key: tensor.copy() for key, tensor in weights.items()}
        changed[name][place] -= 1e-3
        with torch.no_grad():
            load_weights(module, changed)
        assert (
            abs(abs(loss_of(module, samples) - base) - found[name][place]) <= 2e-5 + 0.1 * found[name][place]
        )


def test_a_channel_that_copies_the_label_knows_all_of_it() -> None:
    """Its information is the label's entropy; a noisy or folded copy has less, an independent one none."""
    rng = np.random.default_rng(2)
    y = rng.integers(0, 4, 4000)
    columns = [y, y + rng.standard_normal(4000), y // 2, rng.standard_normal(4000), np.ones(4000)]
    copy, noisy, folded, independent, constant = information(np.stack(columns, 1).astype(np.float32), y)
    entropy = -sum(p * math.log(p) for p in np.bincount(y) / 4000)
    assert copy == pytest.approx(entropy, abs=0.01)
    assert 0.2 < noisy < folded < copy
    assert folded == pytest.approx(math.log(2), abs=0.01)
    assert independent < 0.005
    assert constant == 0


def test_information_is_the_formula() -> None:
    """Counted by hand: two intervals, two labels, three quarters of the samples on the diagonal."""
    y = np.repeat([0, 1], 400)
    a = np.where(np.arange(800) % 4 == 0, 1 - y, y).astype(np.float32)
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert information(a[:, None], y)[0] == pytest.approx(expected - 1 / 1600, abs=1e-6)


def test_order_and_scale_do_not_matter() -> None:
    """Information is about which interval, not about numbers, and labels are only names."""
    rng = np.random.default_rng(3)
    y = rng.integers(0, 3, 500)
    a = (y + rng.standard_normal(500)).astype(np.float32)[:, None]
    expected = information(a, y)
    np.testing.assert_allclose(information(np.exp(a) * 100, y), expected)
    np.testing.assert_allclose(information(a[::-1], y[::-1]), expected)
    np.testing.assert_allclose(information(a, y * 7 + 2), expected)


def test_the_channel_that_knows_the_label_is_kept() -> None:
    """From a network's activations to the rows that a codec sends."""
    module = nn.Sequential(nn.Conv2d(1, 3, 1), nn.Flatten(), nn.Linear(3 * 36, 4))
    convolution, samples = module[0], samples_of()
    assert isinstance(convolution, nn.Conv2d)
    with torch.no_grad():
        assert convolution.bias is not None
        convolution.weight[:] = torch.tensor([0.0, 1.0, 0.0]).reshape(3, 1, 1, 1)
        convolution.bias[:] = torch.tensor([5.0, 0.0, -5.0])
    found = mutual_information(module, samples)
    np.testing.assert_array_equal(found["0.weight"].ravel() > 0, [False, True, False])
    np.testing.assert_array_equal(found["0.bias"], found["0.weight"].ravel())
    update = {name: np.ones_like(tensor) for name, tensor in found.items()}
    ranked = codec("channels:0.3,by=importance")
    got = ranked.decode(ranked.encode(update, importance=found)[0], Schema.of(update))
    np.testing.assert_array_equal(got["0.weight"].ravel(), [0, 1, 0])


def test_what_cannot_be_measured() -> None:
    """Without samples nothing is known, and one interval tells nothing apart."""
    module = build_model(CNN, (1, 6, 6), 4, seed=1)
    for of in (taylor, mutual_information):
        with pytest.raises(ConfigError, match="should be measured on samples"):
            of(module, samples_of(0))
    with pytest.raises(ConfigError, match=r"`bins` should be 2 or more\. Found 1"):
        mutual_information(module, samples_of(), bins=1)


def test_only_the_last_samples_are_measured() -> None:
    """A long round costs no more than its end, and another loss than cross-entropy is followed."""
    module = build_model(CNN, (1, 6, 6), 4, seed=1)
    many, values = samples_of(MOST_SAMPLES + 100), weights_of(module)
    last = many.take(slice(100, len(many)))

    def squared(outputs: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (outputs - functional.one_hot(y, 4)).square().mean()

    found = measure(module, many, values, squared, "importance")
    expected = taylor(module, last, values, squared)
    assert all((found[name] == expected[name]).all() for name in values)
    assert any((found[name] != each).any() for name, each in taylor(module, last, values).items())
    known = measure(module, many, values, squared, "information")
    assert all((known[name] == each).all() for name, each in mutual_information(module, last).items())
