"""The graphs answer as the network does, in float nearly to the bit and in 8 bits nearly always."""

from __future__ import annotations

import numpy as np
import pytest
from torch import nn

pytest.importorskip("onnxruntime", reason='needs the extra: pip install "phloem[shrink]"')

from phloem.errors import ConfigError
from phloem.server.shrink.graph import to_onnx
from phloem.server.shrink.int8 import VARIANTS, one_variant, quantise
from phloem.server.shrink.network import predict
from phloem.server.shrink.quality import agreement, calibration_error, quality
from phloem.server.shrink.session import answers
from tests.server.shrink.networks import SHAPE, images, normed


def test_the_float_graph_is_the_network() -> None:
    """For any number of inputs; the same network gives the same bytes, which say nothing of the maker."""
    network, x = normed(), images(300)
    graph = to_onnx(network, SHAPE)
    np.testing.assert_allclose(answers(graph, x), predict(network, x), atol=1e-5)
    np.testing.assert_allclose(answers(graph, x[:1]), predict(network, x[:1]), atol=1e-5)
    data = graph.SerializeToString(deterministic=True)
    assert data == to_onnx(network, SHAPE).SerializeToString(deterministic=True)
    assert b".py" not in data
    assert b"BatchNormalization" not in data


def test_eight_bits_agree_and_are_chosen_by_agreement() -> None:
    """The chosen variant is the one that agrees most; the network's pool hangs over the edge on purpose."""
    network, x = normed(), images(300)
    graph = to_onnx(network, SHAPE)
    chosen, tried = quantise(graph, images(100, seed=1), x)
    assert len(tried) == len(VARIANTS)
    assert chosen.agreement == max(one.agreement for one in tried)
    wanted = answers(graph, x)
    error = np.abs(answers(chosen.graph, x) - wanted).max() / np.abs(wanted).max()
    assert error < 0.1
    assert agreement(answers(chosen.graph, x), wanted) == pytest.approx(chosen.agreement)


@pytest.mark.parametrize(
    ("pool", "side"),
    [
        (nn.AvgPool2d(2, ceil_mode=True), 4),
        (nn.AvgPool2d(3, stride=2, ceil_mode=True), 3),
        (nn.AvgPool2d(2, ceil_mode=False), 3),
    ],
)
def test_average_pools_survive_eight_bits(pool: nn.Module, side: int) -> None:
    """Windows that hang over the edge are averages of what is inside, in 8 bits too."""
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), pool, nn.Flatten(), nn.Linear(4 * side**2, 10)
    )
    x = np.random.default_rng(0).random((100, 1, 7, 7), np.float32)
    graph = to_onnx(network, (1, 7, 7))
    wanted = predict(network, x)
    np.testing.assert_allclose(answers(graph, x), wanted, atol=1e-5)
    assert np.abs(answers(one_variant(graph, VARIANTS[0], x), x) - wanted).max() < 0.05 * np.abs(wanted).max()


def test_without_data_there_is_no_int8() -> None:
    """Nothing to calibrate on, or nothing to compare on."""
    graph = to_onnx(normed(), SHAPE)
    with pytest.raises(ConfigError, match="needs unlabelled inputs to calibrate on"):
        quantise(graph, images(0), images(5))


def test_what_onnx_cannot_say_is_told() -> None:
    """A user's network may do anything."""

    class Strange(nn.Module):
        def forward(self, x):  # type: ignore[no-untyped-def]
            return x.flatten(1)[:, :10] if float(x.sum()) > 0 else x.flatten(1)[:, 10:20]

    with pytest.raises(ConfigError, match="torch can export to ONNX"):
        to_onnx(Strange(), SHAPE)


def test_quality_is_what_its_words_say() -> None:
    """Accuracy by class, none for a class that is not there; confidence that is right is calibrated."""
    labels = np.array([0, 0, 1, 1])
    logits = np.array([[9, 0, 0], [0, 9, 0], [0, 9, 0], [0, 9, 0]], np.float32)
    found = quality(logits, labels)
    assert found.accuracy == 0.75
    assert found.by_class == (0.5, 1.0, None)
    assert found.ece == pytest.approx(0.25, abs=0.01)
    confidence = np.full(1000, 0.7)
    assert calibration_error(confidence, np.arange(1000) < 700) == pytest.approx(0, abs=1e-9)
    assert calibration_error(confidence, np.arange(1000) < 200) == pytest.approx(0.5)
