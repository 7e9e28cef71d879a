"""A round of the server as a function: what it applies, acknowledges and remembers."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
import pytest

from phloem.compression.codec import codec
from phloem.compression.update import Update, digest
from phloem.config import Experiment
from phloem.errors import RunError
from phloem.protocol import FIRST_VERSION, NO_VERSION, Reply, model_hash
from phloem.server.app import prepare
from phloem.server.round import admit, aggregate, choose, first_state, instruct
from phloem.server.state import Arrived, Outcome, ServerState, Setting

EXPERIMENT = Experiment().with_values(
    {
        "data.clients": 4,
        "model.hidden": 4,
        "uplink.codec": "dense",
        "downlink.codec": "dense",
        "downlink.anchor": "dense",
    }
)
SETTING = prepare(EXPERIMENT)
CLIENTS = ("0", "2", "10", "camera")
FIRST = first_state(SETTING, dict.fromkeys(CLIENTS, b"made another"))
STATE, PATHS = instruct(SETTING, FIRST, 1, CLIENTS)
VERSION = PATHS["0"].model.version


def update(seed: int, scale: float = 0.1) -> Update:
    rng = np.random.default_rng(seed)
    return {
        t.name: (scale * rng.normal(size=t.shape)).astype(np.float32) for t in SETTING.learner.schema.tensors
    }


def arrived(client: str, delta: Update, state: ServerState = STATE, **changes: Any) -> Arrived:
    """An honest client's answer in round 1, or one with other fields."""
    seq = state.acked[client] + 1
    blob, _ = codec("dense").encode(delta, base=VERSION, seq=seq)
    reply = Reply(client, 1, seq, VERSION, 32, 1.0, 16, b"", 0.1, 0.1, 0.1)
    return Arrived(client, {**reply.to_mapping(), **changes}, blob)


def do(*replies: Arrived, setting: Setting = SETTING) -> Outcome:
    return aggregate(setting, STATE, 1, replies)


def test_the_model_moves_by_the_weighted_mean() -> None:
    """Protects federated averaging itself: clients weigh by their samples, the server by its rate."""
    setting = replace(SETTING, experiment=EXPERIMENT.with_values({"server.learning_rate": 0.5}))
    first, second = update(1), update(2)
    outcome = do(
        arrived("0", first, samples=10, correct=0), arrived("10", second, samples=30), setting=setting
    )
    for name, tensor in outcome.state.model.items():
        expected = STATE.model[name] + 0.5 * (10 * first[name] + 30 * second[name]) / 40
        np.testing.assert_allclose(tensor, expected, rtol=1e-5, atol=1e-7)


def test_the_order_of_arrival_does_not_matter() -> None:
    """Protects equal bits on every carrier: who was fast decides nothing."""
    replies = [arrived(client, update(i)) for i, client in enumerate(CLIENTS)]
    outcomes = [do(*order) for order in permutations(replies)]
    assert {digest(outcome.state.model) for outcome in outcomes} == {digest(outcomes[0].state.model)}
    assert {tuple(a.sane.reply.client for a in outcome.accepted) for outcome in outcomes} == {CLIENTS}


def test_only_what_was_applied_is_acknowledged() -> None:
    """Protects the residuals: an update that is not in the model stays with its client."""
    broken = replace(arrived("2", update(2)), blob=b"broken")
    outcome = do(arrived("0", update(1)), broken, Arrived("10", {}, b"", "gone"))
    assert outcome.state.acked == {"0": 1, "2": 0, "10": 0, "camera": 0}
    assert [(r.client, r.code) for r in outcome.refused] == [("2", "corrupt"), ("10", "failure")]


def test_a_client_is_sent_what_it_is_known_to_lack() -> None:
    """Protects the downlink: who answered holds the version it answered to, who failed may hold nothing."""
    silent = Arrived("camera", {}, b"", silent=True)
    replies = [arrived("0", update(1)), Arrived("10", {}, b"", "gone"), silent]
    held = do(*replies).state.held
    assert {client: held.position(client).confirmed for client in CLIENTS} == {
        "0": VERSION,
        "2": NO_VERSION,
        "10": NO_VERSION,
        "camera": NO_VERSION,
    }
    assert held.position("10").sent == ()
    assert len(held.position("camera").sent) == 1


def test_an_update_that_is_too_large_is_dropped_for_good() -> None:
    """Protects a client from being shut out: what is refused for its size does not come back."""
    outcome = do(arrived("0", update(1, scale=1e6)))
    assert [(r.client, r.code) for r in outcome.refused] == [("0", "change")]
    assert outcome.state.acked["0"] == 1
    assert digest(outcome.state.model) == digest(STATE.model)


def test_an_idle_client_is_neither_applied_nor_refused() -> None:
    """Protects streams that run dry: no samples is an honest answer, without weight."""
    idle = arrived("0", update(1, scale=9.0), samples=0, correct=0, seq=0)
    outcome = do(idle)
    assert (outcome.accepted, outcome.refused) == ((), ())
    assert outcome.state.held.position("0").confirmed == VERSION
    assert outcome.state.acked["0"] == 0
    assert digest(outcome.state.model) == digest(STATE.model)


def test_a_round_without_replies_changes_nothing() -> None:
    """Protects going on: the model stays, and nothing is mutated."""
    before = digest(STATE.model)
    outcome = do()
    assert digest(outcome.state.model) == digest(STATE.model) == before


def test_what_overflows_ends_the_run() -> None:
    """Protects the last good model: infinity is never a version."""
    setting = replace(SETTING, experiment=EXPERIMENT.with_values({"server.learning_rate": 1e38}))
    with pytest.raises(RunError, match=r"should be finite.*server\.learning_rate"):
        do(arrived("0", update(1, scale=20.0)), setting=setting)


def test_a_clients_words_are_kept_short_and_harmless() -> None:
    """Protects ledger and terminal: a reason is one line without escape codes, however long it was."""
    outcome = do(
        Arrived("0", {}, b"", "\x1b[2J\n" + "x" * 10_000),
        replace(arrived("2", update(1)), fields={"y" * 9999: 1}),
    )
    for refused in outcome.refused:
        assert len(refused.reason) <= 300
        assert refused.reason.isprintable()


@pytest.mark.parametrize("wanted", [0, 4, 9])
def test_all_clients_are_asked_where_there_are_no_more(wanted: int) -> None:
    """Protects small federations: 0 means all, and no client is asked twice."""
    setting = replace(SETTING, experiment=EXPERIMENT.with_values({"server.clients_per_round": wanted}))
    assert choose(setting, STATE, 1) == list(CLIENTS)


def test_the_choice_is_the_seeds_and_the_rounds_alone() -> None:
    """Protects equal runs on every carrier, and fairness: over the rounds everybody is asked."""
    setting = replace(SETTING, experiment=EXPERIMENT.with_values({"server.clients_per_round": 2}))
    shuffled = replace(STATE, acked=dict(reversed(list(STATE.acked.items()))))
    rounds = [choose(setting, STATE, number) for number in range(20)]
    assert rounds == [choose(setting, shuffled, number) for number in range(20)]
    assert all(len(set(chosen)) == 2 for chosen in rounds)
    assert {client for chosen in rounds for client in chosen} == set(CLIENTS)


def test_the_first_state_is_the_seeds_alone() -> None:
    """Protects equal runs: the first model and version do not depend on who is there."""
    other = first_state(SETTING, {"9": b"made another"})
    assert digest(other.model) == digest(FIRST.model)
    assert other.held.next_version == FIRST.held.next_version
    assert other.held.whole.positions == {}
    assert other.acked == {"9": 0}


def with_server(**values: object) -> Setting:
    return replace(SETTING, experiment=EXPERIMENT.with_values({f"server.{k}": v for k, v in values.items()}))


def test_a_round_without_a_quorum_changes_nothing() -> None:
    """Protects the model from the few: nothing is applied or acknowledged, every reply accounted for."""
    replies = [arrived("0", update(1)), arrived("2", update(2)), Arrived("10", {}, b"", silent=True)]
    outcome = do(*replies, setting=with_server(quorum=0.7))
    assert outcome.accepted == ()
    assert [(r.client, r.code) for r in outcome.refused] == [
        ("10", "silent"),
        ("0", "quorum"),
        ("2", "quorum"),
    ]
    assert outcome.state.acked == STATE.acked
    assert digest(outcome.state.model) == digest(STATE.model)
    assert outcome.state.held.position("0").confirmed == VERSION
    assert len(do(*replies, setting=with_server(quorum=0.6)).accepted) == 2


def test_an_idle_client_counts_for_the_quorum() -> None:
    """Protects streams that run dry: who has nothing to say was there."""
    idle = arrived("0", update(1), samples=0, correct=0, seq=0)
    assert len(do(idle, arrived("2", update(2)), setting=with_server(quorum=1.0)).accepted) == 1


def test_who_is_never_usable_is_left_out() -> None:
    """Protects rounds from a client that costs a place in each: it is left out, and says so in the ledger."""
    setting = with_server(strikes=2, penalty_rounds=3)
    broken = replace(arrived("2", update(2)), blob=b"broken")
    state = do(broken, setting=setting).state
    assert "2" in choose(setting, state, 2)
    outcome = aggregate(setting, state, 1, [broken])
    assert outcome.refused[0].reason.endswith("With this it is left out up to round 4.")
    assert ["2" in choose(setting, outcome.state, number) for number in (2, 4, 5)] == [False, False, True]
    for_good = with_server(strikes=1)
    outcome = do(broken, setting=for_good)
    assert outcome.refused[0].reason.endswith("left out for the rest of the run.")
    assert "2" not in choose(for_good, outcome.state, 10**6)


def test_losing_a_reply_is_no_strike() -> None:
    """Protects clients on bad networks: only what an honest client never sends counts against it."""
    setting = with_server(strikes=1)
    outcome = do(Arrived("2", {}, b"", silent=True), Arrived("10", {}, b"", "gone"), setting=setting)
    assert choose(setting, outcome.state, 2) == list(CLIENTS)


def test_a_run_with_nobody_left_ends() -> None:
    """Protects against rounds of nobody."""
    with pytest.raises(RunError, match="Found none: of 4 all are gone"):
        choose(SETTING, STATE, 1, here=())


def test_who_comes_later_is_welcome() -> None:
    """Protects late joiners: one that makes the same first version starts there, another gets the model."""
    state = admit(STATE, {"0": b"known", "new": model_hash(FIRST.model), "other": b"made another"})
    assert (state.acked["new"], state.acked["other"], state.acked["0"]) == (0, 0, STATE.acked["0"])
    _, paths = instruct(SETTING, state, 2, ["new", "other"])
    assert (paths["new"].base, paths["other"].base) == (FIRST_VERSION, NO_VERSION)
