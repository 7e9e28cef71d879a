"""The link over networks that are slow, narrow, cut, silent or gone: rounds end, each task is done once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.link.bad_network import BadNetwork, Weather
from tests.link.rig import Link, counting_app, link, until


@dataclass
class Outside:
    """A link whose one device is behind a bad network."""

    made: Link
    network: BadNetwork

    def ask(self, number: int) -> object:
        """Ask the device, wherever it is, and return what it has counted."""
        [node] = [place.node for place in self.made.registry.places()]
        [reply] = self.made.ask_these([node], number)
        assert reply.content.config_records["said"]["number"] == number
        return reply.content.config_records["said"]["count"]


@contextmanager
def behind(folder: Path) -> Iterator[Outside]:
    """A link with one device, there, and a bad network between them."""
    with link(folder, clients=1) as made:
        network = BadNetwork(made.port)
        port = made.service.call(network.listen())
        made.service.at_close(network.close)
        made.start(0, counting_app(), replace(made.member(0), port=port))
        made.wait_for(1)
        yield Outside(made, network)


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Outside]:
    with behind(tmp_path) as found:
        yield found
        found.network.weather = Weather()
        until(lambda: len(found.made.grid.get_node_ids()) == 1)


def test_a_slow_uneven_and_narrow_network(outside: Outside) -> None:
    """Delay, jitter and 20 kB/s: slower, not different."""
    outside.network.weather = Weather(delay_s=0.02, jitter_s=0.02, rate_bytes_per_second=20_000)
    assert [outside.ask(number) for number in (1, 2, 3)] == [1, 2, 3]
    assert outside.network.connections == 1


def test_connections_that_are_cut(outside: Outside) -> None:
    """An RST between and during rounds: the device comes back by itself, and counts each task once."""
    for number in range(1, 6):
        assert outside.ask(number) == number
        outside.made.service.call(outside.network.reset())
    assert outside.network.connections >= 5


def test_answers_that_vanish(outside: Outside) -> None:
    """The device's words are lost without an error; once the connection is cut, they are sent again."""
    [node] = outside.made.wait_for(1)
    assert outside.ask(1) == 1
    outside.network.weather = Weather(swallow_up=True)
    assert outside.made.ask_these([node], 2, timeout=0.3) == []
    outside.network.weather = Weather()
    outside.made.service.call(outside.network.reset())
    assert outside.ask(3) == 3  # the second was learned as well, its answer came too late


def test_a_partition_that_heals(outside: Outside) -> None:
    """Nothing passes for a while: the round waits, and ends when the network is back."""
    assert outside.ask(1) == 1
    outside.network.weather = Weather(partition=True)
    outside.made.service.call(outside.network.reset())
    until(lambda: not outside.made.grid.get_node_ids())
    [key] = outside.made.push(2)
    time.sleep(0.2)
    assert outside.made.grid.pull_messages([key]) == []
    outside.network.weather = Weather()
    assert outside.ask(3) == 3


def test_a_farewell_that_is_cut(tmp_path: Path) -> None:
    """The run ends over a connection that dies under the farewell: the device comes back, and is told."""
    with behind(tmp_path) as outside:
        assert outside.ask(1) == 1
        network, loop = outside.network, outside.made.service.loop
        network.weather = Weather(partition=True)

        def clear_up() -> None:
            network.weather = Weather()
            network.cut()

        loop.call_soon_threadsafe(loop.call_later, 0.3, clear_up)
    [device] = outside.made.running
    assert device.done()
    assert network.connections == 2
