"""The learning test of record in its short form, on digits: what accuracy costs in bytes, beside peers."""

from __future__ import annotations

import numpy as np
import pytest

from phloem.bench.bodies import LENT, peers_as_codecs
from phloem.bench.training import (
    PRESETS,
    SHORT,
    Preset,
    Standing,
    Trained,
    cheapest_peer,
    standings,
    train,
)
from phloem.compression import registry
from phloem.compression.codec import codec
from phloem.compression.update import Schema, is_finite, nmse
from phloem.errors import CodecError

BY_NAME = {preset.name: preset for preset in PRESETS}
PEERS = ("QSGD 1", "EDEN 1 bit")
"""Those that were cheapest for their accuracy, one way and both ways, among all presets."""


@pytest.fixture(scope="module")
def measured() -> dict[str, Standing]:
    """Short federations, really trained, on digits."""
    runs = [train(BY_NAME[name], SHORT, seed=1) for name in ("dense", "dither", *PEERS)]
    return {row.preset.name: row for row in standings(runs)}


def test_fewer_bytes_at_no_less_accuracy_than_any_peer(measured: dict[str, Standing]) -> None:
    """Nearly as accurate as dense, for a small part of the bytes, and for fewer than the best peers'."""
    dense, own = measured["dense"], measured["dither"]
    assert own.accuracy >= dense.accuracy - 0.01
    assert dense.up >= 150 * own.up
    assert dense.both >= 40 * own.both
    for peer in (measured[name] for name in PEERS):
        assert own.accuracy >= peer.accuracy - 0.01
        assert peer.up >= 1.5 * own.up
        assert peer.both >= 1.5 * own.both


def test_the_cheapest_peer_is_no_less_accurate() -> None:
    """A peer that is cheap and worse does not count, and neither does what is phloem's own."""
    names = ("rdo", "EDEN 1 bit", "QSGD 1", "STC 1 %")
    facts = {
        "rdo": (0.9, 10, 10),
        "EDEN 1 bit": (0.95, 40, 40),
        "QSGD 1": (0.9, 30, 900),
        "STC 1 %": (0.5, 1, 1),
    }
    runs = [Trained(name, seed, *facts[name]) for name in names for seed in (1, 2)]
    rows = standings(runs)
    own = next(row for row in rows if row.preset.name == "rdo")
    assert (own.accuracy, own.up, own.both) == (0.9, 10, 20)
    up, both = cheapest_peer(rows, own, both=False), cheapest_peer(rows, own, both=True)
    assert up is not None
    assert both is not None
    assert (up.preset.name, both.preset.name) == ("QSGD 1", "EDEN 1 bit")
    assert cheapest_peer([own], own, both=True) is None


def test_accuracies_are_compared_seed_by_seed() -> None:
    """A preset that was run on easier seeds is not better for it."""
    runs = [Trained("rdo", 1, 0.5, 1, 1), Trained("rdo", 2, 0.9, 1, 1), Trained("QSGD 1", 2, 0.8, 2, 2)]
    rows = standings([*runs, Trained("QSGD 7", 3, 1.0, 1, 1)])
    own, peer = rows[:2]
    assert peer.accuracy > own.accuracy
    assert peer.ahead(own) == pytest.approx(-0.1)
    assert cheapest_peer(rows, own, both=False) is None


@pytest.mark.parametrize(
    "text", ["openfl-stc:0.1", "openfl-kc:6", "nvflare-blockwise8", "nvflare-normfloat4"]
)
def test_peers_formats_can_be_trained_with_and_are_given_back(text: str) -> None:
    """Their codecs round-trip as any other, and have no name outside the benchmark."""
    rng = np.random.default_rng(1)
    update = {"w": rng.standard_normal((30, 40), np.float32), "b": rng.standard_normal(7, np.float32)}
    with peers_as_codecs():
        made = codec(text)
        assert str(made) == text
        blob, _ = made.encode(update)
        decoded = made.decode(blob, Schema.of(update))
    assert Schema.of(decoded) == Schema.of(update)
    assert is_finite(decoded)
    assert nmse(update, decoded) < 0.7
    assert not set(registry.BODIES) & {kind.name for kind in LENT}
    with pytest.raises(CodecError):
        codec(text)


def test_every_preset_is_a_codec() -> None:
    """No preset is found wanting after an hour of runs."""
    with peers_as_codecs():
        for preset in PRESETS:
            assert str(codec(preset.up)) == preset.up
            assert codec(preset.down).feedback is None
    assert len(BY_NAME) == len(PRESETS)
    assert Preset("mine", "fp16").settings["downlink.anchor"] == "dense"
