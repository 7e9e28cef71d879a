"""The ledger's wire bytes against the kernel's count of an interface, and a run through real packet loss."""

from __future__ import annotations

from pathlib import Path

import pytest

from phloem.config import Experiment
from phloem.simulation.run import simulate
from phloem.summary import summarise
from tests.link.two_hosts import SETTINGS, Weather, run, why_not

MOST_HEADER = 14 + 20 + 60
"""Ethernet, IPv4, and TCP with all the options there can be."""

SINCE = 300
"""Bytes that may have crossed after the last answer of a round was counted: acknowledgements, a ping."""


def test_the_interface_counts_what_the_ledger_does(tmp_path: Path) -> None:
    """Between two namespaces: interface = ledger + headers; then 5 % loss at 256 kbit/s, the same hash."""
    if reason := why_not():
        pytest.skip(f"two hosts: {reason}")
    weather, missing = Weather(rate_kbit=256, loss_percent=5), why_not("tc", "nft")
    if missing:
        print(f"without loss and rate: {missing}")
        weather = Weather()
    found = run(tmp_path, weather)
    for way in ("up", "down"):
        payload, wire = found["payload"][way], found["wire"][way]
        packets, interface = found["fair"][f"{way}_packets"], found["fair"][f"{way}_bytes"]
        print(f"{way}: payload {payload} B, ledger {wire} B, interface {interface} B in {packets} packets")
        assert payload < wire <= interface <= wire + packets * MOST_HEADER + SINCE
        # In bad weather TCP sends again; the interface counts that, and the ledger what the socket was told.
        assert found["all_wire"][way] <= found["all"][f"{way}_bytes"]
    simulated = summarise(simulate(Experiment().with_values(SETTINGS), tmp_path / "simulated"))
    assert found["model_sha256"] == simulated.model_sha256
    assert found["ledger_sha256"] == simulated.ledger_sha256
