"""The downlink: every client ends at the server's model bit for bit, by the cheapest way, measured."""

import numpy as np
import pytest

from phloem.client.state import ClientState
from phloem.client.synchronise import synchronise
from phloem.compression.codec import codec
from phloem.compression.frame import pack_chain
from phloem.compression.update import Schema, Update, norm, subtract
from phloem.errors import ProtocolError
from phloem.protocol import FULL, NO_VERSION, Instruction
from phloem.server.versions import Step, Versions, advance, chain_bytes, first_version

STEPS, ANCHOR = codec("topk:0.2 | linear:4 | zstd"), codec("fp16 | zstd")
SCHEMA = Schema.of({"w": np.zeros((40, 30), np.float32), "b": np.zeros(30, np.float32)})


def model(seed: int, scale: float = 1.0) -> Update:
    rng = np.random.default_rng(seed)
    return {t.name: (scale * rng.normal(size=t.shape)).astype(np.float32) for t in SCHEMA.tensors}


def history(length: int, keep: int = 64) -> list[Versions]:
    """Versions 0..length of a model that moves a little each time."""
    goal = model(0)
    versions = [first_version(goal, ANCHOR)]
    for i in range(length):
        goal = {name: t + 0.01 * model(i + 1)[name] for name, t in goal.items()}
        versions.append(advance(versions[-1], goal, STEPS, seed=i, history=keep))
    return versions


def follow(versions: Versions, state: ClientState) -> ClientState:
    chain = pack_chain([step.blob for step in versions.path(state.held)])
    instruction = Instruction(1, versions.version, versions.hash, 0, "dense", 0)
    return synchronise(state, instruction, chain, SCHEMA, STEPS, (ANCHOR, FULL))


@pytest.mark.parametrize("held", [NO_VERSION, 0, 1, 3, 4, 5])
def test_a_client_at_any_version_arrives_at_the_same_bits(held: int) -> None:
    """Whatever a client missed, it ends with the model the server believes it has."""
    versions = history(5)
    state = ClientState() if held == NO_VERSION else ClientState(held=held, model=versions[held].model)
    arrived = follow(versions[5], state)
    assert arrived.held == 5
    assert arrived.model is not None
    for name, tensor in versions[5].model.items():
        np.testing.assert_array_equal(arrived.model[name], tensor)


def test_what_a_step_loses_is_sent_later() -> None:
    """The server's residual is the difference to the global model: it vanishes when the model rests."""
    goal = model(1)
    versions = first_version({t.name: np.zeros(t.shape, np.float32) for t in SCHEMA.tensors}, ANCHOR)
    distances = []
    for i in range(20):
        versions = advance(versions, goal, STEPS, seed=i, history=4)
        distances.append(norm(subtract(goal, versions.model)) / norm(goal))
    assert distances[-1] < 0.02 < distances[0]


def test_the_path_is_the_cheapest_of_all_ways_measured() -> None:
    """No other way there would have cost fewer bytes."""
    versions = history(8)[-1]
    for held in range(NO_VERSION, 8):
        ways: list[tuple[Step, ...]] = [(versions.full,)]
        if held >= 0:
            ways.append(versions.steps[held:])
        else:
            ways.append((versions.anchor, *versions.steps))
        assert chain_bytes(versions.path(held)) == min(map(chain_bytes, ways))


def test_a_client_that_holds_the_version_gets_nothing() -> None:
    """An up-to-date client costs no payload at all."""
    assert history(2)[-1].path(2) == ()


def test_a_client_from_before_the_history_gets_the_model_in_full() -> None:
    """Old steps are forgotten; a client that needs them is not."""
    versions = history(6, keep=2)
    assert versions[6].path(1) == (versions[6].full,)
    assert follow(versions[6], ClientState(held=1, model=versions[1].model)).held == 6
    assert follow(versions[6], ClientState()).held == 6


def test_steps_already_taken_are_passed_over() -> None:
    """The server may believe that a client is older than it is, when a reply was lost."""
    versions = history(4)
    chain = pack_chain([step.blob for step in versions[4].path(1)])
    instruction = Instruction(1, 4, versions[4].hash, 0, "dense", 0)
    state = ClientState(held=3, model=versions[3].model)
    assert synchronise(state, instruction, chain, SCHEMA, STEPS, (ANCHOR, FULL)).held == 4


@pytest.mark.parametrize("held", [NO_VERSION, 0])
def test_a_step_without_its_base_is_refused(held: int) -> None:
    """A client never guesses: without the base it asks for the model in full."""
    versions = history(3)
    chain = pack_chain([versions[3].steps[-1].blob])
    instruction = Instruction(1, 3, versions[3].hash, 0, "dense", 0)
    state = ClientState() if held == NO_VERSION else ClientState(held=0, model=versions[0].model)
    with pytest.raises(ProtocolError, match="in full"):
        synchronise(state, instruction, chain, SCHEMA, STEPS, (ANCHOR, FULL))


def test_another_model_than_the_announced_one_is_refused() -> None:
    """A client whose bits differ from the server's finds out before it trains on them."""
    versions = history(1)
    other = {name: t + np.float32(1e-6) for name, t in versions[0].model.items()}
    with pytest.raises(ProtocolError, match="hash"):
        follow(versions[1], ClientState(held=0, model=other))
