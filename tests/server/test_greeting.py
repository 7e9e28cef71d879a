"""The greeting: who is there is known before anything is sent, whatever the answers are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from flwr.app import Message

from phloem.compression.update import digest
from phloem.errors import RunError
from phloem.ledger import Ledger, Round
from phloem.protocol import MESSAGE
from tests.server.mischief import empty, long_error, run

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


@pytest.mark.parametrize("name", GREETINGS)
def test_a_greeting_that_lies_is_a_run_error(name: str, tmp_path: Path) -> None:
    """Protects the start: who is there is known before anything is sent, or the run ends with a reason."""
    tamper, expected = GREETINGS[name]

    def mischief(number: int, sent: list[Message], replies: list[Message]) -> list[Message]:
        tamper(replies[0])
        return replies[1:] if name == "no answer" else replies

    with pytest.raises(RunError) as caught:
        run(mischief, tmp_path / "run")
    assert expected in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600
    with Ledger.open(tmp_path / "run" / "run.sqlite") as ledger:
        assert ledger.facts()["state"] == "failed"
        assert ledger.read(Round) == []


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
