"""The strategy on a carrier that misbehaves: whose reply it is, and what is left of a run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from flwr.app import ConfigRecord, Error, Message, RecordDict

from phloem.compression.update import digest, is_finite
from phloem.errors import ConfigError, ProtocolError, RunError
from phloem.ledger import Ledger, Rejection, Round
from phloem.ledger import Message as Row
from phloem.protocol import FIRST_VERSION, MESSAGE, error_code
from phloem.server.strategy import read_message
from phloem.simulation.grid import FIRST_NODE
from phloem.summary import summarise
from tests.server.mischief import EXPERIMENT, empty, long_error, run


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

    codecs = {"uplink.codec": "dense", "downlink.codec": "linear:8", "downlink.anchor": "dense"}
    _, ledger = run(broken, tmp_path / "run", EXPERIMENT.with_values({"run.rounds": 4, **codecs}))
    with ledger:
        assert reasons(ledger) == [(2, "0", "failure")]
        assert [row.accepted for row in ledger.read(Round)] == [3, 2, 3, 3]
        rows = [row for row in ledger.read(Row) if row.direction == "down" and row.kind == "train"]
    base = {(row.round, row.client): row.base for row in rows}
    assert [base[n, "0"] == FIRST_VERSION for n in (1, 2, 3, 4)] == [True, True, True, False]
    assert [base[n, "1"] == FIRST_VERSION for n in (1, 2, 3, 4)] == [True, True, False, False]


def other_record(reply: Message) -> None:
    reply.content[MESSAGE] = reply.content["phloem.update"]


def huge_loss(reply: Message) -> None:
    reply.content.config_records[MESSAGE]["loss"] = 1e308


def strange_times(reply: Message) -> None:
    reply.content.config_records[MESSAGE].update(encode_seconds=-1.0, decode_seconds=-5e300)


def huge_number(reply: Message) -> None:
    reply.content.config_records[MESSAGE]["seq"] = 2**63


def strange_names(reply: Message) -> None:
    reply.content[MESSAGE] = ConfigRecord({"\x1b[2J" + "k" * 10_000: 1})


@pytest.mark.parametrize(
    ("tamper", "code"),
    [
        (empty, "protocol"),
        (long_error, "failure"),
        (other_record, "protocol"),
        (strange_names, "protocol"),
        (huge_number, "stale"),
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


def test_a_run_in_which_nobody_is_usable_ends(tmp_path: Path) -> None:
    """Protects against hours of rounds that change nothing; one usable reply keeps a run going."""
    experiment = EXPERIMENT.with_values({"run.rounds": 8})

    def all_but_round_3(number: int, sent: list[Message], replies: list[Message]) -> list[Message]:
        return replies if number in (0, 3) else []

    with pytest.raises(RunError, match=r"3 rounds in a row.*client '2': No reply within the round's time"):
        run(all_but_round_3, tmp_path / "run", experiment)
    assert summarise(tmp_path / "run").rounds == 6


def test_a_client_that_did_not_find_its_way_is_told_from_one_that_broke() -> None:
    """Only who says that the chain led nowhere has shown that it cannot make the first version."""
    asked = Message(RecordDict(), FIRST_NODE, "train")
    for error, astray in ((ProtocolError("hash"), True), (ConfigError("diverged"), False)):
        reply = Message(Error(error_code(error), str(error)), reply_to=asked)
        assert read_message("0", reply).astray is astray
