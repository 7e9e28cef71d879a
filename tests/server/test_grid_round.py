"""A round over a carrier that asks only once: who died is asked again, who is late is not waited for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import partial

from flwr.app import ConfigRecord, Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.proto.node_pb2 import NodeInfo
from flwr.superlink.grid.http_grid import HttpGrid

from phloem.server.grid_round import DEATHS, MOST_ASKINGS, RoundGrid, tells_nodes
from phloem.simulation.grid import FIRST_NODE, LocalGrid

UNAVAILABLE, CRASHED, RAISED, REFUSED = 5, 8, 2, -1
POLL_S = 0.01
app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Say who answers."""
    return Message(RecordDict({"who": ConfigRecord({"node": context.node_id})}), reply_to=message)


class Engine(LocalGrid):
    """The in-process carrier as Flower's engine is: each node's askings meet the fates it was given, in turn.

    A code is that of an error in place of the answer, None no answer at all, REFUSED a message that is not
    even taken, and 0 an answer; a node is activated anew after each that was none.
    """

    def __init__(self, nodes: int, fates: dict[int, list[int | None]], gone: Iterable[int] = ()) -> None:
        super().__init__(app, nodes, {})
        self.fates, self.gone = fates, set(gone)
        self.asked: dict[int, int] = defaultdict(int)
        self.activated: dict[int, int] = defaultdict(int)

    def get_nodes(self) -> list[NodeInfo]:
        """Return the nodes that are there."""
        return [
            NodeInfo(node_id=node, last_activated_at=str(self.activated[node]))
            for node in self.contexts
            if node not in self.gone
        ]

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Let each message meet its fate."""
        ids = []
        for message in messages:
            node = message.metadata.dst_node_id
            self.asked[node] += 1
            todo = self.fates.get(node, [])
            fate = todo.pop(0) if todo else 0
            if fate == 0:
                ids += super().push_messages([message])
                continue
            self.activated[node] += 1
            if fate == REFUSED:
                ids.append("")
                continue
            self._carry(message)
            ids.append(message.metadata.message_id)
            if fate is not None:
                self._replies[ids[-1]] = Message(Error(fate, "gone"), reply_to=message)
        return ids


def ask(grid: Engine, absence_s: float = 20.0, timeout: float = 20.0, needed: int = 99) -> list[Message]:
    """Ask every node over a RoundGrid; every reply without an error is usable."""
    usable = lambda reply: not reply.has_error()  # noqa: E731
    around = RoundGrid(grid, absence_s, lambda: needed, usable, POLL_S)
    messages = [Message(RecordDict(), node, "train") for node in grid.contexts]
    replies = list(around.send_and_receive(messages, timeout=timeout))
    ours = {message.metadata.message_id for message in messages}
    assert {reply.metadata.reply_to_message_id for reply in replies} <= ours, "a strategy knows its own"
    return replies


def answers(replies: list[Message]) -> list[int]:
    """Return the nodes that answered."""
    said = [reply.content.config_records["who"]["node"] for reply in replies if reply.has_content()]
    return sorted(int(node) for node in said if isinstance(node, int))


NODES = [FIRST_NODE, FIRST_NODE + 1, FIRST_NODE + 2]


def test_a_node_that_died_is_asked_again_when_it_is_back() -> None:
    """Protects equal participants: a crash costs a round time, not a client."""
    for code in sorted(DEATHS):
        grid = Engine(3, {NODES[1]: [code, code, 0]})
        assert answers(ask(grid)) == NODES
        assert grid.asked == {NODES[0]: 1, NODES[1]: 3, NODES[2]: 1}


def test_a_node_that_was_back_before_it_was_missed_is_asked_again() -> None:
    """Protects a round from silence: the instruction went down with the node, and no error tells."""
    grid = Engine(3, {NODES[2]: [None, 0]})
    assert answers(ask(grid)) == NODES


def test_a_node_that_stays_away_is_missing_after_a_while_and_in_later_rounds_at_once() -> None:
    """Protects the time of a run: a device that is gone for good is waited for once."""
    grid = Engine(3, {NODES[0]: [UNAVAILABLE] * 9}, gone=[NODES[0]])
    around = RoundGrid(grid, 0.2, lambda: 3, lambda reply: not reply.has_error(), POLL_S)
    for _ in range(2):
        replies = list(
            around.send_and_receive([Message(RecordDict(), n, "train") for n in NODES], timeout=20)
        )
        assert answers(replies) == NODES[1:]
        assert [reply.error.code for reply in replies if reply.has_error()] == [UNAVAILABLE]
    assert grid.asked[NODES[0]] == 2


def test_a_message_that_is_not_taken_is_tried_again_for_a_while() -> None:
    """Protects a round from a node that the engine does not know at the moment, or not any more."""
    assert answers(ask(Engine(3, {NODES[1]: [REFUSED, 0]}))) == NODES
    replies = ask(Engine(3, {NODES[1]: [REFUSED] * 10_000}), absence_s=0.2)
    assert (answers(replies), len(replies)) == ([NODES[0], NODES[2]], 2)


def test_what_is_no_death_is_passed_on() -> None:
    """Protects against asking in vain: an app that raised would raise again."""
    grid = Engine(2, {NODES[0]: [RAISED]})
    replies = ask(grid)
    assert [reply.has_error() for reply in replies] == [True, False]
    assert grid.asked[NODES[0]] == 1


def test_a_node_that_crashes_whenever_it_is_asked_does_not_hold_the_round() -> None:
    """Protects a round from an app that the instruction kills each time."""
    grid = Engine(2, {NODES[0]: [CRASHED] * 10_000})
    replies = ask(grid)
    assert answers(replies) == NODES[1:2]
    assert [reply.error.code for reply in replies if reply.has_error()] == [CRASHED]
    assert grid.asked[NODES[0]] == MOST_ASKINGS


def test_a_round_ends_at_its_deadline() -> None:
    """Protects a round from a node that is there and never answers; what is known to be dead is told so."""
    grid = Engine(3, {NODES[0]: [None], NODES[1]: [UNAVAILABLE]}, gone=[NODES[0], NODES[1]])
    replies = ask(grid, timeout=0.2)
    assert answers(replies) == NODES[2:]
    assert [reply.error.code for reply in replies if reply.has_error()] == [UNAVAILABLE]


def test_enough_is_enough() -> None:
    """Protects over-selection: nobody waits for the last once as many as are needed have answered."""
    grid = Engine(3, {NODES[1]: [None]}, gone=[NODES[1]])
    assert answers(ask(grid, needed=2, timeout=1e9)) == [NODES[0], NODES[2]]


def test_only_flowers_engine_is_asked_again() -> None:
    """Protects carriers that hand a message out until it is answered: the link, and this process."""
    assert tells_nodes(Engine(1, {}))
    assert not tells_nodes(LocalGrid(app, 1, {}))
    assert tells_nodes(HttpGrid.__new__(HttpGrid))


def test_nobody_is_asked_where_nobody_is_to_be() -> None:
    """Protects rounds without an evaluation: Flower's strategies ask an empty list of clients."""
    assert list(RoundGrid(Engine(1, {}), 1.0, lambda: 1, lambda reply: True).send_and_receive([])) == []


def test_replies_are_looked_at_only_where_some_may_be_left_out() -> None:
    """Protects the server's time: to tell whether a reply is usable is to decode it."""
    looked = list[Message]()

    def usable(reply: Message) -> bool:
        looked.append(reply)
        return True

    for needed, seen in ((3, 0), (2, 3)):
        around = RoundGrid(Engine(3, {}), 20.0, partial(int, needed), usable, POLL_S)
        replies = list(
            around.send_and_receive([Message(RecordDict(), n, "train") for n in NODES], timeout=20)
        )
        assert (len(replies), len(looked)) == (3, seen)
