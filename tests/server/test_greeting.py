"""The greeting: who is there is known before anything is sent, whatever the answers are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from flwr.app import Message

from phloem.compression.update import digest
from phloem.errors import RunError
from phloem.ledger import Ledger, Rejection, Round
from phloem.ledger import Message as Row
from phloem.protocol import MESSAGE
from phloem.server.app import serve
from phloem.server.app_greeting import LEFT_OUT
from tests.server.mischief import EXPERIMENT, Mischievous, empty, long_error, run

GREETINGS: dict[str, tuple[Callable[[Message], object], str]] = {
    "no answer": (lambda reply: None, "none of node 2"),
    "refusal": (long_error, "Node 2 refused the run"),
    "no content": (empty, "should have answered with a Greeting"),
    "no record": (lambda reply: reply.content.clear(), "should have answered with a Greeting"),
    "another's name": (lambda reply: rename(reply, "1"), "Found '1' on nodes 2 and 3"),
    "no name": (lambda reply: rename(reply, ""), "1..64 letters, digits"),
    "a path": (lambda reply: rename(reply, "../../etc"), "1..64 letters, digits"),
    "a screen": (lambda reply: rename(reply, "\x1b[2J" * 1000), "1..64 letters, digits"),
    "a line": (lambda reply: rename(reply, "client\n"), "1..64 letters, digits"),
}


def rename(reply: Message, name: str) -> None:
    reply.content.config_records[MESSAGE]["client"] = name


@pytest.mark.parametrize("name", [name for name in GREETINGS if name != "another's name"])
def test_nobody_who_can_be_taken_is_a_run_error(name: str, tmp_path: Path) -> None:
    """Protects the start: who is there is known before anything is sent, or the run ends with a reason."""
    tamper, expected = GREETINGS[name]

    def mischief(number: int, sent: list[Message], replies: list[Message]) -> list[Message]:
        for reply in replies:
            tamper(reply)
        return replies[1:] if name == "no answer" else replies

    with pytest.raises(RunError) as caught:
        run(mischief, tmp_path / "run")
    assert expected in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600
    with Ledger.open(tmp_path / "run" / "run.sqlite") as ledger:
        assert ledger.facts()["state"] == "failed"
        assert ledger.read(Round) == []


@pytest.mark.parametrize("name", [name for name in GREETINGS if name != "no answer"])
def test_a_run_goes_on_without_the_client_that_lies(name: str, tmp_path: Path) -> None:
    """Protects a run from one misconfigured client: left out, told why, and in the ledger with a code."""
    tamper, expected = GREETINGS[name]
    told: list[str] = []

    def mischief(number: int, sent: list[Message], replies: list[Message]) -> list[Message]:
        if number == 0:
            tamper(replies[0])
        return replies

    class Telling(Mischievous):
        def dismiss(self, node: int, why: str) -> None:
            """Take the word for a client that is left out."""
            told.append(why)

    state = serve(Telling(mischief, EXPERIMENT), EXPERIMENT, tmp_path / "run")
    assert len(state.acked) == 2
    with Ledger.open(tmp_path / "run" / "run.sqlite") as ledger:
        [rejection] = [row for row in ledger.read(Rejection) if row.round == 0]
        assert rejection.code == LEFT_OUT
        assert expected in rejection.reason
        assert rejection.reason.isprintable()
        honest_ones = 1 if name == "another's name" else 2  # who lies keeps the name it has taken
        assert [row.accepted for row in ledger.read(Round)] == [honest_ones] * 3
    [why] = told
    assert rejection.reason in why


def test_who_was_left_out_is_asked_again_when_it_comes_back(tmp_path: Path) -> None:
    """Protects the operator's correction: the device is restarted with the right settings, and takes part."""

    def mischief(number: int, sent: list[Message], replies: list[Message]) -> list[Message]:
        if number == 0:
            replies[0].content.clear()
        return replies

    class Restarted(Mischievous):
        def get_node_ids(self) -> list[int]:
            """Leave the first node away in the first round."""
            nodes = super().get_node_ids()
            return nodes[1:] if self.number == 0 else nodes

    state = serve(Restarted(mischief, EXPERIMENT), EXPERIMENT, tmp_path / "run")
    assert sorted(state.acked) == ["0", "1", "2"]
    with Ledger.open(tmp_path / "run" / "run.sqlite") as ledger:
        assert [row.accepted for row in ledger.read(Round)] == [2, 3, 3]


def test_greetings_nobody_asked_for_are_passed_over(tmp_path: Path, honest: str) -> None:
    """Protects the map from clients to nodes: a second greeting under another name adds no client."""

    def mischief(number: int, sent: list[Message], replies: list[Message]) -> list[Message]:
        if number:
            return replies
        twice = Message(replies[0].content, reply_to=sent[0])
        return [*replies, twice]

    state, ledger = run(mischief, tmp_path / "run")
    ledger.close()
    assert sorted(state.acked) == ["0", "1", "2"]
    assert digest(state.model) == honest


@pytest.mark.parametrize("name", GREETINGS)
def test_with_enough_others_a_run_begins_without_the_one_that_lies(name: str, tmp_path: Path) -> None:
    """Protects a run from one bad client at its start: it is passed over, where a run may do without."""
    tamper, _ = GREETINGS[name]

    def mischief(number: int, sent: list[Message], replies: list[Message]) -> list[Message]:
        if number == 0:
            tamper(replies[0])
        return replies[1:] if name == "no answer" and number == 0 else replies

    experiment = EXPERIMENT.with_values({"server.min_clients": 1})
    _, ledger = run(mischief, tmp_path / "run", experiment)
    with ledger:
        assert min(row.accepted for row in ledger.read(Round)) >= 1
        assert len(ledger.read(Round)) == 3


class _Late(Mischievous):
    """A carrier on which the last client's node is there from the second round on."""

    def get_node_ids(self) -> list[int]:
        """Return who is there."""
        nodes = super().get_node_ids()
        return nodes[:-1] if self.number < 1 else nodes


def test_who_comes_later_joins_and_is_counted(tmp_path: Path) -> None:
    """Protects late joiners: greeted between two rounds, counted in the ledger, and learning with all."""
    experiment = EXPERIMENT.with_values({"server.min_clients": 2, "server.connect_timeout_s": 0.1})
    grid = _Late(lambda number, sent, replies: replies, experiment)
    state = serve(grid, experiment, tmp_path / "run")
    assert sorted(state.acked) == ["0", "1", "2"]
    with Ledger.open(tmp_path / "run" / "run.sqlite") as ledger:
        hellos = {(row.client, row.round) for row in ledger.read(Row) if row.kind == "hello"}
        accepted = [row.accepted for row in ledger.read(Round)]
    assert hellos == {("0", 0), ("1", 0), ("2", 2)}
    assert accepted == [2, 3, 3]


def test_too_few_are_too_few(tmp_path: Path) -> None:
    """Protects the word of `min_clients`: fewer do not begin."""
    experiment = EXPERIMENT.with_values({"server.min_clients": 3, "server.connect_timeout_s": 0.1})
    with pytest.raises(RunError, match="Found 2 answers"):
        run(lambda number, sent, replies: replies[1:], tmp_path / "silent", experiment)
    with pytest.raises(RunError, match="needs 3 nodes"):
        serve(_Late(lambda number, sent, replies: replies, experiment), experiment, tmp_path / "late")
