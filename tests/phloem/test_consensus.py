"""What networks say to each other: bounded, alike whatever constant is in it, and about the same samples."""

from __future__ import annotations

import numpy as np
import pytest

from phloem.config import Experiment
from phloem.consensus import LARGEST_LOGIT, consensus_schema, proxy_of, silence, softened, spoken
from phloem.errors import ConfigError

SPEAKS = Experiment().with_values({"exchange.kind": "logits", "uplink.codec": "linear:4"})
PROXY = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
SCHEMA = consensus_schema(PROXY, 3)


def logits(scale: float, shift: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(1)
    return (scale * rng.normal(size=(7, 3)) + shift).astype(np.float32)


def test_what_is_said_is_bounded_and_blind_to_a_constant() -> None:
    """Protects bytes and votes from a network that is sure beyond measure, or shifted."""
    said, again = spoken(SCHEMA, logits(2)), spoken(SCHEMA, logits(2, shift=5))
    [told], [shifted] = said.values(), again.values()
    assert np.allclose(told, shifted, atol=1e-5)
    assert np.allclose(told.mean(axis=1), 0, atol=1e-6)
    assert max(np.abs(tensor).max() for tensor in spoken(SCHEMA, logits(1e30)).values()) <= LARGEST_LOGIT


def test_predictions_sum_to_one_and_silence_prefers_nothing() -> None:
    """Protects imitation: its target is a distribution, and softer at a higher temperature."""
    said = spoken(SCHEMA, logits(3))
    sharp, soft = softened(said, 1.0), softened(said, 4.0)
    assert np.allclose(sharp.sum(axis=1), 1, atol=1e-6)
    assert (soft.max(axis=1) < sharp.max(axis=1)).all()
    assert np.allclose(softened(silence(SCHEMA), 2.0), 1 / 3)


def test_other_proxy_samples_are_another_schema() -> None:
    """Protects a run from a device with other samples: the greeting compares schemas."""
    other = PROXY.copy()
    other[3, 2] += 1e-3
    assert consensus_schema(other, 3).fingerprint != SCHEMA.fingerprint
    assert consensus_schema(PROXY.copy(), 3).fingerprint == SCHEMA.fingerprint


def test_the_proxy_is_held_back_by_the_data_or_a_source_of_its_own() -> None:
    """Protects devices that learn from their own files: the public samples may come from elsewhere."""
    held_back = proxy_of(SPEAKS)
    assert len(held_back) > 100
    assert np.array_equal(proxy_of(SPEAKS.with_values({"exchange.samples": 20})), held_back[:20])
    everything = proxy_of(SPEAKS.with_values({"exchange.proxy": "digits"}))
    assert len(everything) == 1797


def test_without_proxy_samples_nothing_begins() -> None:
    """Protects from a run about nothing: it says what is missing and what to do."""
    with pytest.raises(ConfigError, match=r"needs proxy samples.*raise `data\.proxy_fraction`"):
        proxy_of(SPEAKS.with_values({"data.proxy_fraction": 0.0}))
