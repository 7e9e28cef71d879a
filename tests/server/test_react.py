"""What follows from alarms: who is asked again, who changes to the other model, who goes back."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from phloem.compression.codec import codec
from phloem.compression.update import Update, digest
from phloem.config import Experiment, ServerConfig
from phloem.protocol import Reply
from phloem.server.app import prepare
from phloem.server.react import Did, Reactions, most_have_second, react, swapped, with_asked
from phloem.server.round import aggregate, choose, first_state, instruct
from phloem.server.state import Arrived, Outcome, ServerState

MODEL = {"w": np.zeros(3, np.float32)}
CLIENTS = ("0", "1", "2", "3", "10")
EXPERIMENT = Experiment().with_values(
    {
        "data.clients": 5,
        "model.hidden": 4,
        "uplink.codec": "dense",
        "downlink.codec": "dense",
        "downlink.anchor": "dense",
        "server.on_drift": "cluster",
        "server.clients_per_round": 2,
    }
)
SETTING = prepare(EXPERIMENT)


def config(on_drift: Literal["none", "extra_round", "cluster"], share: float = 0.0) -> ServerConfig:
    return ServerConfig(on_drift=on_drift, drift_share=share)


def reply(client: str, loss: float = 1.0, alarms: int = 0, samples: int = 32) -> Reply:
    return Reply(client, 1, 1, 1, samples, loss, 0, b"", 0.0, 0.0, 0.0, alarms=alarms)


def test_nothing_follows_unless_asked() -> None:
    """Protects runs without a reaction: alarms are counted, and that is all."""
    assert react(config("none"), Reactions(), MODEL, [reply("0", alarms=1)]) == (Reactions(), ())


def test_an_extra_round_is_for_those_with_an_alarm() -> None:
    """Protects the extra turn: for the next round alone, and only where enough clients say so."""
    told = [reply("0"), reply("3", alarms=2), reply("10"), reply("2", samples=0)]
    after, did = react(config("extra_round"), Reactions(), MODEL, told)
    assert (after.asked, did) == (("3",), (Did("3", "asked", 0),))
    assert with_asked(after, ["10"], CLIENTS) == ["3", "10"]
    assert with_asked(after, ["3", "10"], CLIENTS) == ["3", "10"]
    assert with_asked(after, ["10"], ("10",)) == ["10"]
    assert react(config("extra_round"), after, MODEL, [reply("3")])[0].asked == ()
    assert react(config("extra_round", 0.5), Reactions(), MODEL, told)[0].asked == ()


def test_the_first_alarms_fork_and_later_ones_change_sides() -> None:
    """Protects the two models: the second begins as the first, and an alarm changes the model both ways."""
    forked, did = react(config("cluster"), Reactions(), MODEL, [reply("1", alarms=1), reply("2")])
    assert did == (Did("1", "forked", 1),)
    assert (forked.side("1"), forked.side("2")) == (1, 0)
    np.testing.assert_array_equal(forked.second["w"], MODEL["w"])
    assert forked.second["w"] is not MODEL["w"]
    _, did = react(config("cluster"), forked, MODEL, [reply("2", alarms=1), reply("1", alarms=1)])
    assert [(d.client, d.deed, d.model) for d in did] == [("2", "moved", 1), ("1", "moved", 0)]


def test_who_fits_the_other_model_worse_goes_back() -> None:
    """Protects against false alarms: one round under the wrong model, no more."""
    start = Reactions(second=MODEL, sides={"1": 1}, trials={"1": 0.7, "2": 0.7})
    after, did = react(config("cluster"), start, MODEL, [reply("1", 0.8), reply("2", 0.6)])
    assert did == (Did("1", "returned", 0),)
    assert (after.side("1"), after.trials) == (0, {})
    _, did = react(config("cluster"), start, MODEL, [reply("1", 0.8, alarms=1)])
    assert did == (Did("1", "returned", 0),)  # its alarm is about the model it leaves


def test_the_model_of_most_is_the_first() -> None:
    """Protects the run's model: it follows the clients, not history."""
    second = {"w": np.ones(3, np.float32)}
    state = Reactions(second=second, sides={"0": 1, "1": 1, "3": 1})
    assert most_have_second(state, CLIENTS)
    assert not most_have_second(replace(state, sides={"0": 1}), CLIENTS)
    turned = swapped(state, MODEL, {}, CLIENTS)
    assert [turned.side(client) for client in CLIENTS] == [0, 0, 1, 0, 1]
    assert turned.second is MODEL


def answer(state: ServerState, clients: list[str], scale: float, alarms: tuple[str, ...], n: int) -> Outcome:
    """Play round `n`: everybody who is asked moves every weight by `scale`."""
    state, paths = instruct(SETTING, state, n, clients)
    replies = []
    for client, path in paths.items():
        seq, version = state.acked[client] + 1, path.model.version
        delta: Update = {
            t.name: np.full(t.shape, scale * (1 + state.reactions.side(client)), np.float32)
            for t in SETTING.learner.schema.tensors
        }
        blob, _ = codec("dense").encode(delta, base=version, seq=seq)
        told = Reply(client, n, seq, version, 32, 1.0, 16, b"", 0.1, 0.1, 0.1, alarms=int(client in alarms))
        replies.append(Arrived(client, told.to_mapping(), blob))
    return aggregate(SETTING, state, n, replies)


def test_each_side_learns_its_own_model() -> None:
    """Protects the arithmetic: an update moves the model it was learned from, and each gets its own."""
    state = first_state(SETTING, dict.fromkeys(CLIENTS, b"made another"))
    outcome = answer(state, list(CLIENTS), 0.5, ("1", "2"), 1)
    assert [(d.client, d.deed) for d in outcome.did] == [("1", "forked"), ("2", "forked")]
    assert digest(outcome.state.model) == digest(outcome.state.reactions.second)
    after = answer(outcome.state, list(CLIENTS), 0.1, (), 2)
    assert (after.refused, len(after.accepted)) == ((), 5)
    for name, before in outcome.state.model.items():
        np.testing.assert_allclose(after.state.model[name], before + 0.1, atol=1e-5)
        np.testing.assert_allclose(after.state.reactions.second[name], before + 0.2, atol=1e-5)
    _, paths = instruct(SETTING, after.state, 3, CLIENTS)
    given = {client: digest(path.model.weights) for client, path in paths.items()}
    assert given["1"] == given["2"] == digest(after.state.reactions.second)
    assert given["0"] == given["3"] == given["10"] == digest(after.state.model)
    most = answer(after.state, list(CLIENTS), 0.1, ("0", "3"), 3)
    assert digest(most.state.model) != digest(most.state.reactions.second)
    assert [most.state.reactions.side(client) for client in CLIENTS] == [0, 0, 0, 0, 1]


def test_one_held_model_is_enough_for_two() -> None:
    """Protects clients of the one model from being forgotten while the other one is sent."""
    one = replace(SETTING, experiment=EXPERIMENT.with_values({"downlink.held_models": 1}))
    state = first_state(one, dict.fromkeys(CLIENTS, b"made another"))
    second = {name: tensor + 1 for name, tensor in state.model.items()}
    state = replace(state, reactions=Reactions(second=second, sides={"1": 1, "2": 1}))
    state, paths = instruct(one, state, 1, CLIENTS)
    for client, path in paths.items():
        assert state.held.position(client).version == path.model.version
    assert list(paths) == list(CLIENTS)


def test_an_extra_turn_is_beside_those_whose_turn_it_is() -> None:
    """Protects the choice: the same clients as without it, and the asked ones."""
    state = first_state(SETTING, dict.fromkeys(CLIENTS, b"made another"))
    plain = choose(SETTING, state, 4)
    other = next(client for client in CLIENTS if client not in plain)
    asked = replace(state, reactions=Reactions(asked=(other,)))
    assert set(choose(SETTING, asked, 4)) == {*plain, other}
    assert other not in choose(SETTING, asked, 4, here=plain)
