"""The link end to end over real sockets: messages arrive whole, and each task is done exactly once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg

from phloem.client.journal import Journal
from phloem.config import LinkConfig
from phloem.errors import ConfigError
from phloem.tap import Tap
from tests.link.rig import HERE, Link, counting_app, link, until

CLIENTS = 2


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Link]:
    with link(tmp_path) as made:
        for place in range(CLIENTS):
            made.start(place, counting_app())
        made.wait_for(CLIENTS)
        yield made


def said(replies: list[Message]) -> list[tuple[object, object]]:
    records = [reply.content.config_records["said"] for reply in replies]
    return sorted((record["number"], record["count"]) for record in records)


def test_every_device_answers_every_round(two: Link) -> None:
    """Protects the way of a message: asked once, answered once, the state kept from round to round."""
    for number in range(1, 4):
        assert said(two.ask(number)) == [(number, number)] * CLIENTS


def test_bytes_are_counted_at_the_socket(two: Link) -> None:
    """The ledger's wire bytes are what the kernel counted: more than the content, and not much more."""
    two.ask(0)
    [first, _] = replies = two.ask(1)
    for reply in replies:
        content, wire = two.grid.object_bytes(reply), two.grid.wire_bytes(reply)
        assert wire is not None
        assert wire >= 36  # TLS, HTTP/2 and gRPC frame every message; names that came before cost nothing
        assert wire <= content + 120
    assert first.metadata.message_id


def test_a_stock_strategy_runs_unchanged(tmp_path: Path) -> None:
    """Flower's own FedAvg with plain NumPy arrays does not see that a link carries it."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        [weights] = message.content.array_records["arrays"].to_numpy_ndarrays()
        share = int(context.node_config["partition-id"]) + 1
        content = RecordDict(
            {
                "arrays": ArrayRecord([(weights + share).astype("float32")]),
                "metrics": MetricRecord({"num-examples": 1, "share": share}),
            }
        )
        return Message(content, reply_to=message)

    with link(tmp_path) as made:
        for place in range(CLIENTS):
            made.start(place, app)
        made.wait_for(CLIENTS)
        strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=CLIENTS, min_available_nodes=CLIENTS)
        result = strategy.start(
            made.grid, ArrayRecord([np.zeros((3, 5), "float32")]), num_rounds=2, timeout=20
        )
    assert (result.arrays.to_numpy_ndarrays()[0] == 3.0).all()


def test_an_app_that_breaks_is_an_error_reply_and_changes_nothing(tmp_path: Path) -> None:
    """What an app did to its Context before it raised is undone: it will be asked again."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        count = len(context.state)
        context.state[f"mark {count}"] = ConfigRecord({"n": count})
        if message.content.config_records["asked"]["number"] == 1:
            raise OSError("the sensor is gone")
        return Message(RecordDict({"said": ConfigRecord({"count": count, "number": 0})}), reply_to=message)

    with link(tmp_path, clients=1) as made:
        made.start(0, app)
        made.wait_for(1)
        assert said(made.ask(0)) == [(0, 0)]
        [broken] = made.ask(1)
        assert broken.error.reason == "OSError: the sensor is gone"
        assert said(made.ask(2)) == [(0, 1)]


def test_large_and_odd_content_arrives(tmp_path: Path) -> None:
    """A message of megabytes, an empty one and every kind of value come back as they went."""
    app = ClientApp()

    @app.query()
    def echo(message: Message, context: Context) -> Message:
        return Message(message.content, reply_to=message)

    blob = np.random.default_rng(1).bytes(3_000_000)
    contents = [
        RecordDict(),
        RecordDict({"": ArrayRecord({"blob": Array("bytes", (len(blob),), "phloem.update.v1", blob)})}),
        RecordDict({"c": ConfigRecord({"i": -(2**63), "u": 2**64 - 1, "b": True, "y": b"", "l": ["é", ""]})}),
        RecordDict({"a": ArrayRecord([np.arange(6, dtype="int16").reshape(2, 3), np.array(2.5)])}),
    ]
    with link(tmp_path, clients=1) as made:
        made.start(0, app)
        [node] = made.wait_for(1)
        sent = [Message(content, node, "query") for content in contents]
        replies = {r.metadata.reply_to_message_id: r for r in made.grid.send_and_receive(sent, timeout=20)}
        assert [replies[m.metadata.message_id].content for m in sent] == contents


def test_what_does_not_fit_is_told(tmp_path: Path) -> None:
    """A reply above the limit, a node nobody knows and a full mailbox each become an error reply."""
    app = ClientApp()

    @app.query()
    def grow(message: Message, context: Context) -> Message:
        return Message(RecordDict({"c": ConfigRecord({"y": bytes(100_000)})}), reply_to=message)

    with link(tmp_path, LinkConfig(most_bytes=65_536, most_waiting=1), clients=1) as made:
        made.start(0, app)
        [node] = made.wait_for(1)
        sent = [Message(RecordDict(), to, "query") for to in (node, node, 12345)]
        reasons = sorted(str(r.error.reason) for r in made.grid.send_and_receive(sent, timeout=20))
    assert len(reasons) == 3
    assert "1 messages wait for this device already" in reasons[0]
    assert "at most 65536 bytes" in reasons[1]
    assert "No device has this node id" in reasons[2]


def test_a_device_that_was_away_finds_its_task(tmp_path: Path) -> None:
    """Store and forward: what is sent to a device that is off waits for it, its state waits on its disk."""
    with link(tmp_path, clients=1) as made:
        member = made.member(0)
        first = made.start(0, counting_app(), member)
        [node] = made.wait_for(1)
        assert said(made.ask(1)) == [(1, 1)]
        made.service.farewell(node, finished=True, reason="for the test")
        first.result(20)
        content = RecordDict({"asked": ConfigRecord({"number": 2})})
        [key] = made.grid.push_messages([Message(content, node, "train")])
        assert made.grid.pull_messages([key]) == []
        made.start(0, counting_app(), member)
        found: list[Message] = []

        def came() -> bool:
            found.extend(made.grid.pull_messages([key]))
            return bool(found)

        until(came)
        assert said(found) == [(2, 2)]


def test_a_device_that_stays_away_counts_as_missing(tmp_path: Path) -> None:
    """A round does not wait for ever: after `absence_s` an absent node is answered for, as Flower does."""
    with link(tmp_path, LinkConfig(absence_s=0.05), clients=2) as made:
        member = made.member(0)
        made.start(0, counting_app(), member)
        made.member(1)
        [node] = made.wait_for(1)
        absent = next(seat.node for seat in made.registry.places() if seat.node != node)
        content = RecordDict({"asked": ConfigRecord({"number": 1})})
        sent = [Message(content, to, "train") for to in (node, absent)]
        replies = made.grid.send_and_receive(sent, timeout=20)
    assert sorted(reply.has_error() for reply in replies) == [False, True]


def test_two_processes_cannot_be_one_device(tmp_path: Path) -> None:
    """A journal has one owner, or two would answer in turn from different states."""
    with Journal(tmp_path / "journal.sqlite"), pytest.raises(ConfigError, match="one process"):
        Journal(tmp_path / "journal.sqlite")


def test_a_device_that_lost_its_disk_comes_as_new(tmp_path: Path) -> None:
    """A new journal is noticed once, so that the server can send the model in full."""
    with link(tmp_path, clients=1) as made:
        member = made.member(0)
        first = made.start(0, counting_app(), member)
        [node] = made.wait_for(1)
        assert said(made.ask(1)) == [(1, 1)]
        assert made.grid.reborn_nodes() == []
        made.service.farewell(node, finished=True, reason="for the test")
        first.result(20)
        for path in (tmp_path / "device-0").glob("journal.*"):
            path.unlink()
        made.start(0, counting_app(), member)
        until(lambda: len(made.grid.get_node_ids()) == 1)
        assert said(made.ask(2)) == [(2, 1)]
        assert made.grid.reborn_nodes() == [node]
        assert made.grid.reborn_nodes() == []


def test_the_kernels_count_is_the_wires(tmp_path: Path) -> None:
    """A proxy that sees every byte counts what the ledger will say, both ways."""
    with link(tmp_path, clients=1) as made, Tap(HERE, made.port) as tap:
        member = made.member(0)
        device = made.start(0, counting_app(), replace(member, port=tap.port))
        [node] = made.wait_for(1)
        replies = [reply for number in range(5) for reply in made.ask(number)]
        until(lambda: made.service.wire(node) == (tap.up, tap.down))
        counted = [made.grid.wire_bytes(reply) for reply in replies]
        made.service.farewell(node, finished=True, reason="for the test")
        device.result(20)
    assert all(counted)
    assert sum(count or 0 for count in counted) <= tap.up
