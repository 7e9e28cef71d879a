"""A device that looks before it joins in: how fast the link is; no task is taken, no ledger has a byte."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from phloem.client.journal import Journal
from phloem.client.link.node import Node
from phloem.client.link.probe import SIZES, Throughput
from phloem.client.link.session import Device
from phloem.link.stream import MOST_PROBE_BYTES
from phloem.proto import link_pb2
from phloem.server.link.session import MOST_PROBES
from tests.link.bad_network import BadNetwork, Weather
from tests.link.rig import QUICK, Link, counting_app, link
from tests.link.test_refusals import converse, hello


def look(made: Link, folder: Path, port: int | None = None) -> Throughput:
    member = made.member(0)
    with Journal(folder / "journal.sqlite") as journal:
        device = Device(Node(counting_app(), journal), replace(member, port=port or member.port), QUICK)
        found = made.service.call(device.greet(probe=True))
    assert found is not None
    return found


def test_a_narrow_link_is_found_narrow(tmp_path: Path) -> None:
    """No faster than the network lets bytes through, each way; a task that waits is left for later."""
    with link(tmp_path, clients=1) as made:
        network = BadNetwork(made.port, Weather(rate_bytes_per_second=100_000))
        port = made.service.call(network.listen())
        made.service.at_close(network.close)
        made.member(0)
        [key] = made.push(7)
        found = look(made, tmp_path / "device-0", port)
        assert 0 < found.up_bytes_per_second < 110_000
        assert 0 < found.down_bytes_per_second < 110_000
        assert found.round_trip_seconds > 0
        assert made.service.counts["wire_up_bytes"] == 0  # nothing of it is any message's
        made.start(0, counting_app())
        made.wait_for(1)
        [reply] = [*made.grid.pull_messages([key]), *made.ask(8)][-1:]
        assert reply.content.config_records["said"]["count"] == 2


def test_every_filler_fits() -> None:
    """A device's own probes are within what a server takes: three small ones, and each size twice."""
    assert max(SIZES) == MOST_PROBE_BYTES
    assert 3 + 2 * len(SIZES) <= MOST_PROBES


@pytest.mark.parametrize(
    "probes",
    [
        [link_pb2.Probe(wanted=MOST_PROBE_BYTES + 1)],
        [link_pb2.Probe(wanted=2**32 - 1)],
        [link_pb2.Probe(filler=bytes(MOST_PROBE_BYTES + 1))],
        [link_pb2.Probe()] * (MOST_PROBES + 1),
    ],
    ids=["a byte too many", "four gigabytes", "a filler too long", "once too often"],
)
def test_nobody_has_the_server_send_without_end(tmp_path: Path, probes: list[Any]) -> None:
    """What a probe wants is the device's word: it is bounded before anything is made."""
    with link(tmp_path, clients=1) as made:
        ups = [link_pb2.Up(probe=probe).SerializeToString() for probe in probes]
        _, code, details = converse(made, made.member(0), hello(), *ups)
        assert code is grpc.StatusCode.FAILED_PRECONDITION
        assert "at most 16 probes of 262144 bytes" in details
