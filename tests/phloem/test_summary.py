"""The summary: every number of it follows from rows of the ledger."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from phloem.errors import ConfigError
from phloem.ledger import Evaluation, Ledger, Message, Rejection, Round
from phloem.summary import summarise
from tests.phloem.plausible_run import Story, write_run

KEYS = (
    "accuracy rounds clients uplink downlink reference seconds client_updates_per_second"
    " model_sha256 ledger_sha256 run_dir"
)


def test_numbers_are_those_of_the_rows(tmp_path: Path) -> None:
    """Protects the definition of every number that a user compares runs by."""
    with Ledger.create(tmp_path / "run.sqlite", {"model_sha256": "ab"}) as ledger:
        for number in range(1, 8):
            ledger.record(
                Message(number, "a", "up", "train", "fp16", 0, number, 100, 120, None, 1000, None, None),
                Message(number, "b", "down", "train", "fp16", 0, number, 200, 220, None, 1000, None, None),
                Round(number, number, 3, 2, 1, 0.5, None, None),
                Evaluation(number, "test", 10, 1.0, number / 10),
                Evaluation(number, "validation", 10, 1.0, 0.0),
            )
        ledger.record(Message(0, "c", "down", "hello", "dense", 0, 0, 600, 640, None, 1000, None, None))
        ledger.record(Rejection(3, "a", "failure", "first"), Rejection(7, "a", "failure", "last"))
        digest = ledger.digest()
    found = summarise(tmp_path)
    assert (found.rejections, found.why_rejected) == ({"failure": 2}, "round 7, client a: last")
    assert found.accuracy == 0.7
    assert found.accuracy_mean5 == pytest.approx(0.5)
    assert (found.rounds, found.clients, found.rejected) == (7, 3, 7)
    assert (found.uplink.payload_bytes, found.uplink.object_bytes, found.uplink.saved_ratio) == (
        700,
        840,
        10.0,
    )
    assert (found.downlink.payload_bytes, found.downlink.dense_bytes) == (2000, 7000)
    assert found.downlink.saved_ratio == 3.5
    assert found.seconds == 3.5
    assert found.client_updates_per_second == 4.0
    assert (found.model_sha256, found.ledger_sha256) == ("ab", digest)
    assert (found.reference, found.run_dir) == (None, str(tmp_path))


def test_it_is_the_object_that_simulate_prints(tmp_path: Path) -> None:
    """Protects the keys that scripts read, and that JSON can hold all values."""
    tree = json.loads(json.dumps(summarise(write_run(tmp_path / "run")).as_dict(), allow_nan=False))
    assert set(KEYS.split()) <= set(tree)
    for traffic in (tree["uplink"], tree["downlink"], tree["reference"]["uplink"]):
        assert list(traffic) == ["payload_bytes", "object_bytes", "dense_bytes", "saved_ratio"]
    assert tree["reference"]["accuracy"] > 0.9
    assert tree["uplink"]["saved_ratio"] > 10 > tree["reference"]["uplink"]["saved_ratio"]


def test_a_run_that_did_nothing_has_a_summary(tmp_path: Path) -> None:
    """Protects a killed run's folder: no division by zero, no invented number."""
    found = summarise(write_run(tmp_path, Story(rounds=0, clients=0), reference=False))
    assert (found.accuracy, found.rounds, found.uplink.saved_ratio) == (None, 0, None)
    assert found.client_updates_per_second is None


def test_a_folder_without_a_run_is_named(tmp_path: Path) -> None:
    """Protects the user who names a wrong folder."""
    with pytest.raises(ConfigError, match="no file there"):
        summarise(tmp_path)
