"""Networks: seeded without side effects, of any image size, and checked before they are used."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from phloem.client.models.build import build_model, load_weights, seeded, weights_of
from phloem.compression.update import Schema, digest
from phloem.config import ModelConfig
from phloem.errors import ConfigError

IMAGE = (1, 8, 8)
MLP, CNN = ModelConfig(), ModelConfig(name="cnn")
NORMALISED = ModelConfig(name="users_models:normalised")


@pytest.mark.parametrize("config", [MLP, CNN, NORMALISED], ids=lambda config: config.name)
def test_the_seed_decides_the_weights_and_torchs_own_generator_is_left_alone(config: ModelConfig) -> None:
    """Server and clients start from the same model, and nobody else's draws move."""
    before = torch.get_rng_state()
    first = digest(weights_of(build_model(config, IMAGE, 10, seed=1)))
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert digest(weights_of(build_model(config, IMAGE, 10, seed=1))) == first
    assert digest(weights_of(build_model(config, IMAGE, 10, seed=2))) != first


def test_the_mlp_has_the_layers_that_are_asked_for() -> None:
    """Names are the wire's order and the user's handle on a layer."""
    weights = weights_of(build_model(ModelConfig(hidden=(32, 16)), (3, 5), 4, seed=1))
    assert {name: tensor.shape for name, tensor in weights.items()} == {
        "hidden1.weight": (32, 15),
        "hidden1.bias": (32,),
        "hidden2.weight": (16, 32),
        "hidden2.bias": (16,),
        "output.weight": (4, 16),
        "output.bias": (4,),
    }


def test_without_hidden_layers_the_mlp_is_logistic_regression() -> None:
    """The smallest model is a configuration, not a special case."""
    assert list(weights_of(build_model(ModelConfig(hidden=()), (4,), 2, seed=1))) == [
        "output.weight",
        "output.bias",
    ]


@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (1, 8, 8), (1, 28, 28), (3, 32, 32), (1, 100, 6), (2, 7, 9), (4, 96, 131)]
)
def test_the_cnn_takes_images_of_any_size(shape: tuple[int, int, int]) -> None:
    """Small images are not pooled away, and large ones do not make a huge head."""
    module = build_model(CNN, shape, 5, seed=1)
    assert module(torch.zeros(2, *shape)).shape == (2, 5)
    assert weights_of(module)["hidden1.weight"].shape[1] <= 32 * 8 * 8


def test_the_cnn_has_a_convolution_for_each_entry_of_channels() -> None:
    """The benchmark network of 1,059,146 weights is such a configuration, but for its kernel size."""
    module = build_model(ModelConfig(name="cnn", channels=(4, 6, 8), hidden=(20,)), (3, 16, 16), 10, seed=1)
    convolutions = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)]
    assert [layer.out_channels for layer in convolutions] == [4, 6, 8]


def test_the_cnn_refuses_inputs_that_are_no_images() -> None:
    """The remedy is the other model."""
    with pytest.raises(ConfigError, match="Use the model 'mlp'"):
        build_model(CNN, (64,), 10, seed=1)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("transfomer", "'transformer', 'autoencoder', 'embedding', or your own"),
        ("no_such_module:f", "importable module"),
        ("users_models:too_many_classes", r"finite outputs \(1, 3\)\. Found \(1, 4\)"),
        ("users_models:not_finite", "or not finite"),
        ("users_models:raises", "Found RuntimeError"),
        ("users_models:double", r"should be in float32. Found torch.float64 in 'scale'"),
        ("users_models:nothing_to_learn", "weights to learn"),
        ("users_models:no_module", "Found list"),
    ],
)
def test_a_model_that_cannot_work_is_refused_when_it_is_built(name: str, message: str) -> None:
    """Not in the first round, on a device far away."""
    with pytest.raises(ConfigError, match=message):
        build_model(ModelConfig(name=name), IMAGE, 3, seed=1)


def test_weights_go_out_and_in_unchanged() -> None:
    """And what went out is a copy: training on does not reach into an update that was sent."""
    source, target = build_model(NORMALISED, IMAGE, 10, seed=1), build_model(NORMALISED, IMAGE, 10, seed=2)
    weights = weights_of(source)
    before = digest(weights)
    load_weights(target, weights)
    assert digest(weights_of(target)) == before
    with torch.no_grad():
        for parameter in target.parameters():
            parameter.zero_()
    assert digest(weights) == before


def test_float_buffers_are_weights_and_integer_buffers_stay_local() -> None:
    """Running statistics are averaged with the rest; a counter cannot be."""
    weights = weights_of(build_model(NORMALISED, IMAGE, 10, seed=1))
    assert "2.running_mean" in weights
    assert "2.num_batches_tracked" not in weights
    assert Schema.of(weights).parameters == sum(tensor.size for tensor in weights.values())


def test_read_only_and_reordered_weights_can_be_loaded() -> None:
    """A decoded update is often a view of the bytes that came."""
    module = build_model(MLP, IMAGE, 10, seed=1)
    weights = {name: tensor + 1 for name, tensor in reversed(weights_of(module).items())}
    for tensor in weights.values():
        tensor.flags.writeable = False
    load_weights(module, weights)
    assert digest(weights_of(module)) == digest(weights)


def test_weights_of_another_model_are_refused() -> None:
    """In name, in shape, in number and in dtype."""
    module = build_model(ModelConfig(hidden=()), (4,), 2, seed=1)
    weights = weights_of(module)
    weight = weights["output.weight"]
    wrong_ones: list[dict[str, Any]] = [
        {"output.weight": weight},
        {**weights, "more": weight},
        {**weights, "output.weight": weight.T},
        {**weights, "output.weight": weight.astype(np.float64)},
    ]
    for wrong in wrong_ones:
        with pytest.raises(ConfigError, match="The weights"):
            load_weights(module, wrong)


def test_seeded_puts_the_generator_back_even_after_an_error() -> None:
    """A failed build must not make the next draw predictable."""
    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError), seeded(1):
        raise ZeroDivisionError
    assert torch.equal(torch.get_rng_state(), before)
