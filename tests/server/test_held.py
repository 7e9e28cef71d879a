"""The downlink: every client ends at the model the server believes it holds, bit for bit, for few bytes."""

from dataclasses import replace

import numpy as np
import pytest

from phloem.client.state import ClientState
from phloem.client.synchronise import synchronise
from phloem.compression.codec import codec
from phloem.compression.frame import pack_chain
from phloem.compression.update import Schema, Update, norm, subtract
from phloem.errors import ProtocolError
from phloem.protocol import FIRST_VERSION, LONGEST_CHAIN, Instruction
from phloem.server.held import Downlink, Held, Path, begin, send

STEPS, ANCHOR = codec("topk:0.2 | linear:4 | zstd"), codec("fp16 | zstd")
DOWNLINK = Downlink(STEPS, ANCHOR, capacity=100)
SCHEMA = Schema.of({"w": np.zeros((40, 30), np.float32), "b": np.zeros(30, np.float32)})


def model(seed: int, scale: float = 1.0) -> Update:
    rng = np.random.default_rng(seed)
    return {t.name: (scale * rng.normal(size=t.shape)).astype(np.float32) for t in SCHEMA.tensors}


def walk(length: int) -> list[Update]:
    """A global model that moves a little each round."""
    goals = [model(0)]
    for i in range(length):
        goals.append({name: t + 0.01 * model(i + 1)[name] for name, t in goals[-1].items()})
    return goals


def follow(path: Path, state: ClientState, first: Update | None = None) -> ClientState:
    make = None if first is None else (lambda: first)
    instruction = Instruction(1, path.model.version, path.model.hash, 0, "dense", 0)
    return synchronise(state, instruction, path.blob, SCHEMA, STEPS, ANCHOR, make)


def test_whenever_a_client_comes_it_arrives_at_the_same_bits() -> None:
    """However irregular the participation, no client ever differs from what the server believes."""
    rng = np.random.default_rng(5)
    held, states = Held(), {str(i): ClientState() for i in range(6)}
    for number, goal in enumerate(walk(30)):
        clients = [client for client in states if rng.random() < 0.4]
        held, paths = send(held, clients, goal, DOWNLINK, seed=number)
        for client in clients:
            states[client] = follow(paths[client], states[client])
            held = held.confirm(client)
            for name, tensor in held.weights(client).items():
                np.testing.assert_array_equal(dict(states[client].model or {})[name], tensor)


def test_a_lost_reply_costs_the_step_again_and_nothing_else() -> None:
    """Whether the client took the step whose reply was lost, or never saw it: the next chain fits both."""
    goals = walk(2)
    held, paths = send(Held(), ["a"], goals[0], DOWNLINK, seed=0)
    state = follow(paths["a"], ClientState())
    held = held.confirm("a")
    held, lost = send(held, ["a"], goals[1], DOWNLINK, seed=1)
    held, paths = send(held, ["a"], goals[2], DOWNLINK, seed=2)
    assert len(paths["a"].chain) == 2
    took, missed = follow(lost["a"], state), state
    for before in (took, missed):
        assert follow(paths["a"], before).held == paths["a"].model.version


def test_what_a_step_leaves_out_is_in_the_next() -> None:
    """The server's residual is the difference to the global model: it vanishes when the model rests."""
    goal = model(1)
    held, _ = send(Held(), ["a"], {n: np.zeros_like(t) for n, t in goal.items()}, DOWNLINK, seed=0)
    distances = []
    for i in range(20):
        nudged = {name: t + np.float32(1e-6 * i) for name, t in goal.items()}
        held, _ = send(held.confirm("a"), ["a"], nudged, DOWNLINK, seed=i)
        distances.append(norm(subtract(goal, held.confirm("a").weights("a"))) / norm(goal))
    assert distances[-1] < 0.02 < distances[0]


def test_clients_at_the_same_model_share_one_coding() -> None:
    """Twenty clients that move together cost the server one encoding a round, and one model's memory."""
    clients = [str(i) for i in range(20)]
    held, paths = send(Held(), clients, model(0), DOWNLINK, seed=0)
    assert len({id(path.chain[0]) for path in paths.values()}) == 1
    for client in clients:
        held = held.confirm(client)
    held, paths = send(held, clients, model(1, 0.9), DOWNLINK, seed=1)
    assert len({id(path.chain[-1]) for path in paths.values()}) == 1
    assert len(held.models) == 2


def test_a_client_that_holds_what_stands_for_the_model_gets_nothing() -> None:
    """Asked twice about the same model, a client that confirmed it costs no payload at all."""
    held, _ = send(Held(), ["a"], model(0), DOWNLINK, seed=0)
    held, paths = send(held.confirm("a"), ["a"], model(0), DOWNLINK, seed=1)
    assert paths["a"].chain == ()
    assert paths["a"].blob == b""


def test_the_model_in_full_is_sent_where_it_is_cheaper() -> None:
    """After many lost replies a chain is longer than the model itself: measured, not assumed."""
    coarse = Downlink(codec("dense"), codec("linear:2"), capacity=100)
    held, _ = send(Held(), ["a"], model(0), coarse, seed=0)
    held, paths = send(held.confirm("a"), ["a"], model(1), coarse, seed=1)
    assert len(paths["a"].chain) == 1
    assert len(paths["a"].blob) < SCHEMA.dense_bytes / 4


def test_memory_is_bounded_and_the_longest_absent_pay_for_it() -> None:
    """Beyond its capacity the server forgets, and sends the model in full to whom it forgot."""
    small = replace(DOWNLINK, capacity=3)
    held = Held()
    for i, goal in enumerate(walk(9)):
        held, paths = send(held, [str(i)], goal, small, seed=i)
        held = held.confirm(str(i))
        assert len(held.models) <= 4
    held, paths = send(held, ["0", "9"], model(3), small, seed=10)
    assert paths["0"].chain[0].blob == paths["0"].chain[-1].blob
    assert follow(paths["0"], ClientState(held=0, model=model(9))).held == paths["0"].model.version


def test_a_step_without_its_base_is_refused() -> None:
    """A client never guesses: without the base it asks for the model in full."""
    held, _ = send(Held(), ["a"], model(0), DOWNLINK, seed=0)
    _, paths = send(held.confirm("a"), ["a"], model(1), DOWNLINK, seed=1)
    for state in (ClientState(), ClientState(held=7, model=model(3))):
        with pytest.raises(ProtocolError, match="in full"):
            follow(paths["a"], state)


def test_another_model_than_the_announced_one_is_refused() -> None:
    """A client whose bits differ from the server's finds out before it trains on them."""
    held, paths = send(Held(), ["a"], model(0), DOWNLINK, seed=0)
    state = follow(paths["a"], ClientState())
    assert state.model is not None
    other = replace(state, model={name: t + np.float32(1e-6) for name, t in state.model.items()})
    _, paths = send(held.confirm("a"), ["a"], model(1), DOWNLINK, seed=1)
    with pytest.raises(ProtocolError, match="hash"):
        follow(paths["a"], other)


def test_steps_already_taken_are_passed_over() -> None:
    """The same chain twice does not move a client twice."""
    held, paths = send(Held(), ["a"], model(0), DOWNLINK, seed=0)
    state = follow(paths["a"], ClientState())
    _, paths = send(held.confirm("a"), ["a"], model(1), DOWNLINK, seed=1)
    once = follow(paths["a"], state)
    twice = follow(paths["a"], once)
    assert once.held == twice.held
    assert pack_chain([step.blob for step in paths["a"].chain]) == paths["a"].blob


def test_no_chain_is_longer_than_a_client_follows() -> None:
    """However many replies in a row are lost, what the server sends is something an honest client takes."""
    held, paths = send(Held(), ["a"], model(0), DOWNLINK, seed=0)
    held = held.confirm("a")
    for i in range(LONGEST_CHAIN + 5):
        held, paths = send(held, ["a"], model(i), Downlink(STEPS, codec("dense"), 100), seed=i)
        assert len(paths["a"].chain) <= LONGEST_CHAIN


def test_the_first_version_costs_nothing_and_is_always_there() -> None:
    """Whoever can make the first version is never sent a model in full: fresh, forgotten, or restarted."""
    first, goals = model(0), walk(3)
    held = begin(first, ["a"])
    held, paths = send(held, ["a", "stranger"], first, DOWNLINK, seed=0)
    assert paths["a"].blob == b""
    assert len(paths["stranger"].chain) == 1
    state = follow(paths["a"], ClientState(), first)
    held, paths = send(held.confirm("a"), ["a"], goals[1], DOWNLINK, seed=1)
    state = follow(paths["a"], state, first)
    held, paths = send(held.confirm("a").forget("a"), ["a"], goals[2], DOWNLINK, seed=2)
    assert paths["a"].base == FIRST_VERSION
    for restarted_or_not in (ClientState(), state):
        assert follow(paths["a"], restarted_or_not, first).held == paths["a"].model.version


def test_the_error_asked_for_is_kept_and_nothing_is_spent_beyond_it() -> None:
    """With `rdo` a step takes what the distance to the global model needs: none where that is small."""
    downlink = Downlink(codec("rdo:bpp=1"), ANCHOR, capacity=100, error=0.1)
    held = begin(model(0), ["a"])
    held, paths = send(held, ["a"], model(1), downlink, seed=1)
    there = held.confirm("a").weights("a")
    assert 0.05 < norm(subtract(model(1), there)) / norm(model(1)) <= 0.1001
    held, paths = send(held.confirm("a"), ["a"], {n: t + 0 for n, t in there.items()}, downlink, seed=2)
    assert paths["a"].blob == b""


def test_who_cannot_make_the_first_version_any_more_is_sent_the_model_in_full() -> None:
    """A device that makes other bits after an upgrade is back in two rounds, not out for good."""
    first, goals = model(0), walk(3)
    held, paths = send(begin(first, ["a"]), ["a"], goals[1], DOWNLINK, seed=1)
    other = {name: t + np.float32(1e-6) for name, t in first.items()}
    state = follow(paths["a"], ClientState(), first)
    held, paths = send(held.confirm("a"), ["a"], goals[2], DOWNLINK, seed=2)
    assert follow(paths["a"], state, other).held == paths["a"].model.version
    held, paths = send(held.confirm("a").astray("a"), ["a"], goals[3], DOWNLINK, seed=3)
    assert paths["a"].base == FIRST_VERSION
    with pytest.raises(ProtocolError, match="hash"):
        follow(paths["a"], ClientState(), other)
    held, paths = send(held.astray("a"), ["a"], goals[3], DOWNLINK, seed=4)
    assert follow(paths["a"], ClientState(), other).held == paths["a"].model.version
