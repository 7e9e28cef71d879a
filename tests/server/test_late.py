"""Over-selection: a round is made by the first usable replies, and what comes late is not lost."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest

from phloem.compression.update import digest
from phloem.config import Experiment, ServerConfig
from phloem.errors import ConfigError
from phloem.server.late import beyond, needed, to_ask
from phloem.server.round import aggregate, choose
from phloem.server.state import Arrived, Outcome
from tests.server.test_round import CLIENTS, EXPERIMENT, SETTING, STATE, VERSION, arrived, update

FOUR = ServerConfig(clients_per_round=2, over_selection=2.0)
SETTING_OF_TWO = replace(
    SETTING,
    experiment=EXPERIMENT.with_values({"server.clients_per_round": 2, "server.over_selection": 2.0}),
)
HONEST = {client: arrived(client, update(i)) for i, client in enumerate(CLIENTS)}


def do(*replies: Arrived, quorum: float = 0.0) -> Outcome:
    experiment = SETTING_OF_TWO.experiment.with_values({"server.quorum": quorum})
    return aggregate(replace(SETTING_OF_TWO, experiment=experiment), STATE, 1, replies)


def silent(client: str) -> Arrived:
    return Arrived(client, {}, b"", silent=True)


def used(outcome: Outcome) -> list[str]:
    return [accepted.sane.reply.client for accepted in outcome.accepted]


def test_so_many_more_are_asked_as_there_are() -> None:
    """Protects the setting's meaning: a product, rounded up but not for the last bit of a float."""
    for factor, here, expected in (
        (1.0, 99, 10),
        (1.1, 99, 11),
        (1.3, 99, 13),
        (1.31, 99, 14),
        (2.0, 15, 15),
    ):
        assert to_ask(ServerConfig(over_selection=factor), here) == expected
    assert to_ask(ServerConfig(clients_per_round=0), 7) == needed(ServerConfig(clients_per_round=0), 7) == 7
    assert (needed(FOUR, 4), needed(FOUR, 1), needed(ServerConfig(), 3)) == (2, 1, 3)
    assert choose(SETTING_OF_TWO, STATE, 1) == list(CLIENTS)


def test_without_it_every_reply_counts() -> None:
    """Protects runs made so far: at 1, nothing is late, however many clients drift adds to a round."""
    assert list(beyond("abc", needed(ServerConfig(clients_per_round=2), 3), lambda reply: True)) == []


def test_it_needs_a_number_of_clients() -> None:
    """Protects against a setting without effect: all clients times anything are all clients."""
    with pytest.raises(ConfigError, match=r"server\.clients_per_round.*Found 0"):
        Experiment().with_values({"server.clients_per_round": 0, "server.over_selection": 1.3})


@pytest.mark.parametrize("order", list(permutations(CLIENTS))[::5])
def test_the_first_replies_make_the_round(order: tuple[str, ...]) -> None:
    """Protects the semantics: who came first counts; among those, the order of ids decides the bits."""
    outcome = do(*(HONEST[client] for client in order))
    first = sorted(order[:2], key=CLIENTS.index)
    assert used(outcome) == first
    again = do(*(HONEST[client] for client in (*reversed(order[:2]), *order[2:])))
    assert digest(again.state.model) == digest(outcome.state.model)


def test_what_is_late_returns_and_its_client_is_known_to_be_up_to_date() -> None:
    """Protects exactly-once: no acknowledgement, so the mass returns; but it holds what it was sent."""
    outcome = do(*(HONEST[client] for client in CLIENTS))
    assert outcome.state.acked == {"0": 1, "2": 1, "10": 0, "camera": 0}
    assert [(refused.client, refused.code) for refused in outcome.refused] == [
        ("10", "late"),
        ("camera", "late"),
    ]
    assert outcome.state.held.position("camera").confirmed == VERSION
    assert len(outcome.heard) == 4


def test_who_had_not_answered_when_it_was_enough_is_late_as_well() -> None:
    """Protects the count: these are not failures of the network."""
    outcome = do(HONEST["0"], HONEST["2"], silent("10"), silent("camera"))
    assert [refused.code for refused in outcome.refused] == ["late", "late"]
    outcome = do(HONEST["0"], silent("2"), silent("10"), silent("camera"))
    assert [refused.code for refused in outcome.refused] == ["silent"] * 3


def test_a_reply_that_is_no_use_takes_no_place() -> None:
    """Protects a round from whoever is fast and broken."""
    broken = replace(HONEST["0"], blob=b"broken")
    outcome = do(broken, Arrived("2", {}, b"", "gone"), HONEST["10"], HONEST["camera"])
    assert used(outcome) == ["10", "camera"]
    assert [refused.code for refused in outcome.refused] == ["corrupt", "failure"]


def test_a_quorum_is_of_the_replies_that_a_round_needs() -> None:
    """Protects over-selected rounds: who is late is not missing."""
    assert used(do(*(HONEST[client] for client in CLIENTS), quorum=1.0)) == ["0", "2"]
    outcome = do(HONEST["0"], silent("2"), silent("10"), silent("camera"), quorum=1.0)
    assert (used(outcome), outcome.state.acked["0"]) == ([], 0)
    assert ("0", "quorum") in [(refused.client, refused.code) for refused in outcome.refused]
