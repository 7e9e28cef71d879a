"""A client with a network of its own: it follows the consensus, keeps its network, and repeats its words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from phloem.client.peer import Peer, network_for, open_peer
from phloem.client.plain import OWN, from_plain, to_plain
from phloem.client.round import Device, train_round
from phloem.client.state import ClientState
from phloem.client.stream import Stream
from phloem.compression.codec import codec
from phloem.compression.frame import pack_chain
from phloem.compression.update import Update, add, digest
from phloem.config import ClientConfig, Experiment
from phloem.consensus import softened, spoken
from phloem.learning import open_learner
from phloem.protocol import Instruction, model_hash
from phloem.sources import open_federation

EXPERIMENT = Experiment().with_values(
    {
        "data.clients": 3,
        "exchange.kind": "logits",
        "exchange.models": "mlp hidden=8; cnn channels=4 hidden=8",
        "exchange.samples": 60,
        "uplink.codec": "linear:8",
    }
)
FEDERATION = open_federation(EXPERIMENT.data, 1)
NETWORK = open_learner(network_for(EXPERIMENT, 0), FEDERATION.input_shape, FEDERATION.classes)
SAMPLES = FEDERATION.shares[0]


def peer_of(experiment: Experiment = EXPERIMENT) -> Peer:
    peer = open_peer(experiment, NETWORK)
    assert peer is not None
    return peer


PEER = peer_of()
CONSENSUS = spoken(
    PEER.schema, NETWORK.logits(NETWORK.learn(NETWORK.initial(5), SAMPLES, ClientConfig(), 1), PEER.proxy)
)


def device(peer: Peer = PEER, client: int = 0) -> Device:
    return Device(
        client=str(client),
        stream=Stream(FEDERATION.shares[client]),
        learner=peer.network,
        config=ClientConfig(samples_per_round=16, epochs=1),
        steps=codec("dense"),
        full=codec("dense"),
        first=peer.first,
        peer=peer,
    )


def instruction(model: Update, version: int, round_number: int, acked_seq: int = 0) -> Instruction:
    return Instruction(round_number, version, model_hash(model), acked_seq, "linear:8", 1)


def astray(weights: Update, consensus: Update) -> float:
    """The mean divergence of a network's predictions on the proxy from the consensus."""
    wanted = softened(consensus, 2.0).astype(np.float64)
    found = softened(spoken(PEER.schema, NETWORK.logits(weights, PEER.proxy)), 2.0).astype(np.float64)
    return float((wanted * np.log(wanted / found)).sum(axis=1).mean())


def test_clients_have_their_networks_in_turn() -> None:
    """Protects who has which network: by number, and again from the start."""
    assert [network_for(EXPERIMENT, client).name for client in range(4)] == ["mlp", "cnn", "mlp", "cnn"]


def test_where_weights_travel_nobody_speaks() -> None:
    """Protects the bytes of all runs that do not ask for this."""
    assert open_peer(Experiment(), NETWORK) is None


def test_a_network_follows_the_consensus_and_silence_leaves_it_alone() -> None:
    """Protects imitation: nearer after it than before; where nobody has spoken there is nothing to follow."""
    untrained = PEER.heard(PEER.first(), None, 7)
    assert digest(PEER.heard(PEER.first(), untrained, 8)) == digest(untrained)
    assert astray(PEER.heard(CONSENSUS, untrained, 8), CONSENSUS) < 0.5 * astray(untrained, CONSENSUS)


def test_a_client_that_learns_stays_near_the_consensus() -> None:
    """Protects what others know from a round of one client's own samples."""
    own = PEER.heard(CONSENSUS, None, 7)
    config = ClientConfig(learning_rate=0.1)
    free = NETWORK.learn(own, SAMPLES, config, 1)
    guided = PEER.guided_by(CONSENSUS).learn(own, SAMPLES, config, 1)
    assert astray(guided, CONSENSUS) < astray(free, CONSENSUS)
    unheld = peer_of(EXPERIMENT.with_values({"exchange.hold": 0.0})).guided_by(CONSENSUS)
    assert digest(unheld.learn(own, SAMPLES, config, 1)) == digest(free)


def test_what_a_client_saw_often_is_taken_out_of_what_it_says() -> None:
    """Protects the vote on classes that a client seldom saw: only its own mix is taken out."""
    own = NETWORK.initial(1)
    often = np.zeros(50, np.int64)
    [balanced] = PEER.says(own, often).values()
    [plain] = peer_of(EXPERIMENT.with_values({"exchange.balance": 0.0})).says(own, often).values()
    moved = balanced - plain
    assert (moved[:, 0] < 0).all()
    assert np.allclose(moved[:, 1:], moved[:, 1:2], atol=1e-5)
    assert (moved[:, 1] > 0).all()


def test_only_logits_leave_a_client_and_its_network_stays_in_its_state() -> None:
    """Protects memory and restarts: the network is kept bit for bit, and counted."""
    first = PEER.first()
    reply, blob, state = train_round(device(), instruction(first, 0, 1), pack_chain([]), ClientState())
    said = codec("linear:8").decode(blob, PEER.schema)
    assert {name: tensor.shape for name, tensor in said.items()} == {PEER.schema.tensors[0].name: (60, 10)}
    assert state.own is not None
    assert {name: tensor.shape for name, tensor in state.own.items()} == {
        tensor.name: tensor.shape for tensor in NETWORK.schema.tensors
    }
    kept = from_plain(to_plain(state))
    assert kept.own is not None
    assert digest(kept.own) == digest(state.own)
    assert to_plain(state).sizes_bytes[OWN] > NETWORK.schema.dense_bytes
    assert reply.samples == 16


def test_the_same_instruction_again_gets_the_same_reply_and_teaches_nothing() -> None:
    """Protects exactly once: a network that imitated twice would no longer be the one that spoke."""
    chain, first = pack_chain([]), PEER.first()
    reply, blob, state = train_round(device(), instruction(first, 0, 1), chain, ClientState())
    assert train_round(device(), instruction(first, 0, 1), chain, state) == (reply, blob, state)
    again = train_round(device(), instruction(first, 0, 1), chain, ClientState())
    assert again[1] == blob
    assert again[2].own is not None
    assert state.own is not None
    assert digest(again[2].own) == digest(state.own)


def test_a_client_goes_on_from_its_own_network_and_the_new_consensus() -> None:
    """Protects the second round: the step leads to the consensus, the network is the one of before."""
    first = PEER.first()
    _, _, state = train_round(device(), instruction(first, 0, 1), pack_chain([]), ClientState())
    step, _ = codec("dense").encode(CONSENSUS, base=0, seq=1)
    consensus = add(first, codec("dense").decode(step, PEER.schema))
    chain, second = pack_chain([step]), instruction(consensus, 1, 2, acked_seq=1)
    _, blob, after = train_round(device(), second, chain, state)
    assert after.held == 1
    assert after.own is not None
    assert state.own is not None
    assert digest(after.own) != digest(state.own)
    forgetful = train_round(device(), second, chain, replace(state, own=None))
    assert forgetful[1] != blob


@pytest.mark.parametrize("scale", [np.nan, np.inf])
def test_a_network_that_diverged_says_nothing(scale: float) -> None:
    """Protects the consensus from NaN: the client fails in words, and its state is as it was."""
    broken = {name: np.full_like(tensor, scale) for name, tensor in NETWORK.initial(0).items()}
    [said] = PEER.says(broken, SAMPLES.y).values()
    assert not np.isfinite(said).all()
