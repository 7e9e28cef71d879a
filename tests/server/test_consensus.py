"""What clients' words come to: those who know a class decide on it, and nobody decides alone."""

from __future__ import annotations

import numpy as np
import pytest

from phloem.config import ClientConfig, Experiment
from phloem.consensus import LARGEST_LOGIT, softened, spoken
from phloem.server.app import prepare
from phloem.server.consensus import Consensus, Votes

EXPERIMENT = Experiment().with_values(
    {
        "data.clients": 3,
        "model.hidden": 8,
        "exchange.kind": "logits",
        "exchange.samples": 40,
        "uplink.codec": "linear:8",
    }
)
SETTING = prepare(EXPERIMENT)
FIRST = {"logits": np.zeros((2, 3), np.float32)}


def consensus_of() -> Consensus:
    assert SETTING.consensus is not None
    return SETTING.consensus


CONSENSUS = consensus_of()


def voted(*words: tuple[list[float], list[int]], base: list[float] | None = None) -> np.ndarray:
    """The consensus of clients that say the same of two samples, each with its class counts."""
    start = FIRST if base is None else {"logits": np.array([base] * 2, np.float32)}
    votes = Votes(3)
    for logits, counts in words:
        step = {"logits": np.array([logits] * 2, np.float32) - start["logits"]}
        votes.add(start, step, np.array(counts, np.int64))
    [found] = votes.apply_to(start, 1.0).values()
    return np.asarray(found[0])


def test_one_voice_is_the_consensus_wherever_it_began() -> None:
    """Protects the arithmetic of steps: what is voted for does not depend on what was before."""
    word = [4.0, -1.0, -3.0]
    assert np.allclose(voted((word, [5, 5, 5])), word, atol=1e-6)
    assert np.allclose(voted((word, [5, 5, 5]), base=[-2.0, 1.0, 1.0]), word, atol=1e-5)


def test_who_never_saw_a_class_hardly_votes_on_it() -> None:
    """Protects a rare class from the many that know nothing of it."""
    knows = ([6.0, -3.0, -3.0], [10, 0, 0])
    ignorant = ([-6.0, 3.0, 3.0], [0, 10, 10])
    found = voted(knows, *[ignorant] * 3)
    assert found[0] > 5
    assert found[1] > 2.5


def test_who_is_uncertain_hardly_votes() -> None:
    """Protects the consensus from networks that have not learned yet."""
    assert voted(([6.0, -3.0, -3.0], [5, 5, 5]), ([0.0, 0.001, -0.001], [5, 5, 5]))[0] > 5.9


def test_without_counts_all_classes_count_alike() -> None:
    """Protects a round in which a client does not say what it saw."""
    assert np.allclose(voted(([2.0, -1.0, -1.0], [])), [2, -1, -1], atol=1e-6)


def test_without_votes_the_consensus_stays() -> None:
    """Protects a round without replies."""
    assert np.array_equal(Votes(3).apply_to(FIRST, 1.0)["logits"], FIRST["logits"])


def test_the_consensus_is_bounded_whatever_is_voted_for() -> None:
    """Protects all clients from one that shouts."""
    [tensor] = CONSENSUS.schema.tensors
    loud = {tensor.name: np.full(tensor.shape, -90.0, np.float32)}
    loud[tensor.name][:, 3] = 90
    [bounded] = CONSENSUS.bounded(loud).values()
    assert np.abs(bounded).max() <= LARGEST_LOGIT


def test_an_honest_word_is_within_the_limit_and_a_shout_is_not() -> None:
    """Protects the sanitizer's bound: twice the largest logit is as far as honest words go."""
    assert 2 * LARGEST_LOGIT < SETTING.limits.max_change < 100


def test_the_servers_network_follows_the_consensus_but_not_silence() -> None:
    """Protects what is evaluated and exported: it learns from what clients say, and from nothing else."""
    weights = SETTING.learner.initial(1)
    assert CONSENSUS.learned(weights, CONSENSUS.first(), 1) is weights
    knows = SETTING.learner.learn(weights, SETTING.federation.shares[0], ClientConfig(), 1)
    wanted = spoken(CONSENSUS.schema, SETTING.learner.logits(knows, CONSENSUS.proxy))

    def distance(network: dict[str, np.ndarray]) -> float:
        said = spoken(CONSENSUS.schema, SETTING.learner.logits(network, CONSENSUS.proxy))
        return float(np.abs(softened(said, 2.0) - softened(wanted, 2.0)).mean())

    learned = dict(CONSENSUS.learned(weights, wanted, 1))
    assert distance(learned) < 0.8 * distance(dict(weights))


@pytest.mark.parametrize(("votes", "kind"), [("classes", Votes), ("samples", type(None))])
def test_votes_are_by_classes_or_by_the_rule(votes: str, kind: type) -> None:
    """Protects `server.aggregation`: where votes are by samples, it decides."""
    setting = prepare(EXPERIMENT.with_values({"exchange.votes": votes}))
    assert setting.consensus is not None
    assert isinstance(setting.consensus.votes(), kind)
