"""The strategy on a carrier that misbehaves: whose reply it is, and what is left of a run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flwr.app import ConfigRecord, Error, Message
from safetensors import safe_open
from safetensors.numpy import load_file

from phloem.client.app import app
from phloem.compression.update import digest, is_finite
from phloem.config import Experiment
from phloem.errors import RunError
from phloem.ledger import Evaluation, Ledger, Rejection, Round
from phloem.ledger import Message as Row
from phloem.protocol import FIRST_VERSION, MESSAGE
from phloem.server import app as server_app
from phloem.server.app import serve
from phloem.server.round import ServerState
from phloem.simulation.grid import FIRST_NODE, LocalGrid
from phloem.summary import summarise

EXPERIMENT = Experiment().with_values(
    {
        "data.clients": 3,
        "model.hidden": 4,
        "client.epochs": 1,
        "server.clients_per_round": 0,
        "run.rounds": 3,
    }
)
Mischief = Callable[[int, list[Message], list[Message]], list[Message]]
"""(round, what was sent, the honest replies) -> what arrives; round 0 is the greeting."""


class Mischievous(LocalGrid):
    """The in-process carrier, whose replies somebody has had in hand."""

    def __init__(self, mischief: Mischief, experiment: Experiment) -> None:
        super().__init__(app, experiment.data.clients, experiment.to_flat())
        self.mischief, self.number = mischief, -1

    def send_and_receive(self, messages: object, *, timeout: float | None = None) -> list[Message]:
        """Deliver, and let the mischief choose what comes back."""
        sent = list(messages)  # type: ignore[call-overload]
        if not sent:
            return []
        self.number += 1
        return self.mischief(self.number, sent, super().send_and_receive(sent))


def run(mischief: Mischief, folder: Path, experiment: Experiment = EXPERIMENT) -> tuple[ServerState, Ledger]:
    state = serve(Mischievous(mischief, experiment), experiment, folder)
    return state, Ledger.open(folder / "run.sqlite")


@pytest.fixture
def honest(tmp_path: Path) -> str:
    """The model's hash of a run without any mischief."""
    state, ledger = run(lambda number, sent, replies: replies, tmp_path / "honest")
    ledger.close()
    return digest(state.model)


def reasons(ledger: Ledger) -> list[tuple[int, str, str]]:
    return [(r.round, r.client, r.code) for r in ledger.read(Rejection)]


def test_the_order_of_replies_does_not_matter(tmp_path: Path, honest: str) -> None:
    """Protects equal bits whoever is fast, greetings included."""
    state, ledger = run(lambda number, sent, replies: replies[::-1], tmp_path / "run")
    with ledger:
        assert reasons(ledger) == []
    assert digest(state.model) == honest


def test_a_reply_counts_once(tmp_path: Path, honest: str) -> None:
    """Protects the mean: a reply delivered twice is one reply, and the other is written down."""
    state, ledger = run(lambda number, sent, replies: [*replies, replies[1]], tmp_path / "run")
    with ledger:
        assert reasons(ledger) == [(n, "1", "unasked") for n in (1, 2, 3)]
    assert digest(state.model) == honest


def test_a_late_reply_does_not_take_the_place_of_the_true_one(tmp_path: Path, honest: str) -> None:
    """Protects a slow client: last round's reply, come too late, does not cost it this round's."""
    kept: list[Message] = []

    def late(number: int, sent: list[Message], replies: list[Message]) -> list[Message]:
        before = kept.copy()
        kept[:] = replies if number else []
        return [*before, *replies]

    state, ledger = run(late, tmp_path / "run")
    with ledger:
        assert {code for _, _, code in reasons(ledger)} == {"unasked"}
        assert [row.accepted for row in ledger.read(Round)] == [3, 3, 3]
    assert digest(state.model) == honest


def test_nobody_speaks_for_somebody_else(tmp_path: Path) -> None:
    """Protects identities: a client that signs with another's node and name is caught, the other is heard."""

    def forged(number: int, sent: list[Message], replies: list[Message]) -> list[Message]:
        if number:
            replies[0].metadata.__dict__["_src_node_id"] = FIRST_NODE + 1
            replies[0].content.config_records[MESSAGE]["client"] = "1"
        return replies

    _, ledger = run(forged, tmp_path / "run")
    with ledger:
        assert reasons(ledger) == [(n, "0", "identity") for n in (1, 2, 3)]
        assert [row.accepted for row in ledger.read(Round)] == [2, 2, 2]


def test_a_silent_client_is_written_down_and_followed(tmp_path: Path) -> None:
    """Protects rounds with a deadline: who did not answer goes on, whatever it took."""

    def mute(number: int, sent: list[Message], replies: list[Message]) -> list[Message]:
        return replies[1:] if number == 2 else replies

    _, ledger = run(mute, tmp_path / "run", EXPERIMENT.with_values({"run.rounds": 4}))
    with ledger:
        assert reasons(ledger) == [(2, "0", "silent")]
        assert [row.accepted for row in ledger.read(Round)] == [3, 2, 3, 3]


def test_a_client_that_failed_is_sent_a_step_from_the_first_version(tmp_path: Path) -> None:
    """Protects a client that restarted, and one that did not: both can make the first version again."""

    def broken(number: int, sent: list[Message], replies: list[Message]) -> list[Message]:
        if number == 2:
            long_error(replies[0])
        return replies

    _, ledger = run(broken, tmp_path / "run", EXPERIMENT.with_values({"run.rounds": 4}))
    with ledger:
        assert reasons(ledger) == [(2, "0", "failure")]
        assert [row.accepted for row in ledger.read(Round)] == [3, 2, 3, 3]
        rows = [row for row in ledger.read(Row) if row.direction == "down" and row.kind == "train"]
    base = {(row.round, row.client): row.base for row in rows}
    assert [base[n, "0"] == FIRST_VERSION for n in (1, 2, 3, 4)] == [True, True, True, False]
    assert [base[n, "1"] == FIRST_VERSION for n in (1, 2, 3, 4)] == [True, True, False, False]


def empty(reply: Message) -> None:
    reply.__dict__["_content"] = None


def long_error(reply: Message) -> None:
    reply.__dict__.update(_content=None, _error=Error(1, "\x1b]0;owned\x07" + "x" * 100_000))


def other_record(reply: Message) -> None:
    reply.content[MESSAGE] = reply.content["phloem.update"]


def huge_loss(reply: Message) -> None:
    reply.content.config_records[MESSAGE]["loss"] = 1e308


def strange_times(reply: Message) -> None:
    reply.content.config_records[MESSAGE].update(encode_seconds=-1.0, decode_seconds=-5e300)


def strange_names(reply: Message) -> None:
    reply.content[MESSAGE] = ConfigRecord({"\x1b[2J" + "k" * 10_000: 1})


@pytest.mark.parametrize(
    ("tamper", "code"),
    [
        (empty, "protocol"),
        (long_error, "failure"),
        (other_record, "protocol"),
        (strange_names, "protocol"),
        (huge_loss, None),
        (strange_times, None),
    ],
)
def test_whatever_a_reply_is_the_round_goes_on(
    tamper: Callable[[Message], None], code: str | None, tmp_path: Path
) -> None:
    """Protects the run and its report from one client: nothing escapes, and every row can be shown."""

    def mischief(number: int, sent: list[Message], replies: list[Message]) -> list[Message]:
        if number:
            tamper(replies[0])
        return replies

    state, ledger = run(mischief, tmp_path / "run")
    with ledger:
        assert is_finite(state.model)
        assert reasons(ledger) == ([(n, "0", code) for n in (1, 2, 3)] if code else [])
        assert [row.accepted for row in ledger.read(Round)] == [2 if code else 3] * 3
        assert all(len(r.reason) <= 310 and r.reason.isprintable() for r in ledger.read(Rejection))
        for table in ("message", "round", "evaluation"):
            json.dumps(ledger.query(f"SELECT * FROM {table}"), allow_nan=False)
        for row in ledger.read(Row):
            assert row.encode_seconds is None or row.encode_seconds >= 0
            assert row.decode_seconds is None or row.decode_seconds >= 0


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


def test_a_run_in_which_nobody_is_usable_ends(tmp_path: Path) -> None:
    """Protects against hours of rounds that change nothing; one usable reply keeps a run going."""
    experiment = EXPERIMENT.with_values({"run.rounds": 8})

    def all_but_round_3(number: int, sent: list[Message], replies: list[Message]) -> list[Message]:
        return replies if number in (0, 3) else []

    with pytest.raises(RunError, match=r"3 rounds in a row.*client '2': No reply within the round's time"):
        run(all_but_round_3, tmp_path / "run", experiment)
    assert summarise(tmp_path / "run").rounds == 6


class _Interrupter:
    """Raises KeyboardInterrupt at the n-th call of any function that it watches."""

    def __init__(self, at: int) -> None:
        self.at, self.calls = at, 0

    def watch(self, patch: pytest.MonkeyPatch, owner: object, name: str, *, after: bool) -> None:
        original = getattr(owner, name)

        def watched(*arguments: object, **options: object) -> object:
            self.calls += 1
            if self.calls == self.at and not after:
                raise KeyboardInterrupt
            result = original(*arguments, **options)
            if self.calls == self.at and after:
                raise KeyboardInterrupt
            return result

        patch.setattr(owner, name, watched)


def interrupted_at(number: int, folder: Path, *, after: bool) -> bool:
    """Run with an interruption at the n-th step; tell whether the run was still going on."""
    experiment = EXPERIMENT.with_values({"data.clients": 1, "run.rounds": 2})
    with pytest.MonkeyPatch.context() as patch:
        press = _Interrupter(number)
        for owner, name in (
            (server_app, "save_model"),
            (Ledger, "record"),
            (Ledger, "commit"),
            (LocalGrid, "send_and_receive"),
            (server_app, "first_state"),
        ):
            press.watch(patch, owner, name, after=after)
        try:
            serve(LocalGrid(app, 1, experiment.to_flat()), experiment, folder)
        except KeyboardInterrupt:
            return True
    return False


def steps() -> Iterator[tuple[int, bool]]:
    return ((number, after) for after in (False, True) for number in range(1, 40))


def test_ctrl_c_at_any_step_leaves_one_finished_round(tmp_path: Path) -> None:
    """Protects the folder of an interrupted run: ledger and model are of the same round, whenever it was."""
    models: dict[str, str] = {}
    ended: set[int] = set()
    for number, after in steps():
        folder = tmp_path / f"{number}-{after}"
        if not interrupted_at(number, folder, after=after):
            continue
        if not list(folder.iterdir()):
            continue
        with Ledger.open(folder / "run.sqlite") as ledger:
            state, last = ledger.facts()["state"], len(ledger.read(Round))
            assert {row.round for row in ledger.read(Row)} <= {0, *range(1, last + 1)}
            scored = [row.round for row in ledger.read(Evaluation)]
        ended.add(last)
        assert state in ("running", "interrupted", "finished")
        assert state != "running" or not scored
        assert not list(folder.glob("*.part"))
        if scored:
            with safe_open(folder / "model.safetensors", "numpy") as file:
                assert file.metadata() == {"round": str(last)}
            found = digest(load_file(folder / "model.safetensors"))
            assert models.setdefault(str(last), found) == found
            assert scored == list(range(last + 1))
    assert ended == {0, 1, 2}, "the steps cover the run"
