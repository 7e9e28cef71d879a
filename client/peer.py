"""A client with a network of its own: it hears the consensus, learns alone, and says what it thinks.

    consensus ─ imitate ─> own network ─ learn ─> own network ─ logits on the proxy ─> what is sent

The network stays with the client, in its state; only what it says of public samples leaves it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from phloem.compression.update import Schema, Update
from phloem.config import ClientConfig, Experiment, ModelConfig
from phloem.consensus import consensus_schema, proxy_of, silence, softened, spoken
from phloem.learning import NOTHING, Model, Past
from phloem.seeds import derive
from phloem.settings.logits import ExchangeConfig
from phloem.sources import Samples


@dataclass(frozen=True, eq=False)
class Peer:
    """A client's own network among others, and what they all talk about."""

    network: Model
    proxy: NDArray[np.float32]
    schema: Schema
    """Of what is said."""
    config: ExchangeConfig

    def first(self) -> Update:
        """Return the first version of the consensus."""
        return silence(self.schema)

    def heard(self, consensus: Update, own: Update | None, seed: int) -> Update:
        """Return the own network's weights once it has imitated the consensus; None is an untrained one.

        While nobody has said anything, there is nothing to imitate.
        """
        own = self.network.initial(derive(seed, "network")) if own is None else own
        if not any(tensor.any() for tensor in consensus.values()):
            return own
        opinion = softened(consensus, self.config.temperature)
        lesson = self.config.lesson(self.config.steps)
        return self.network.imitate(own, self.proxy, opinion, lesson, derive(seed, "imitate"))

    def guided_by(self, consensus: Update) -> Model:
        """Return the network as it learns in a round: it keeps near the consensus on the proxy meanwhile."""
        if not self.config.hold or not any(tensor.any() for tensor in consensus.values()):
            return self.network
        [logits] = consensus.values()
        known = Samples(self.proxy, logits.argmax(axis=1).astype(np.int64))
        return cast(Model, Guided(self.network, Past(known, logits), self.config.hold))

    def says(self, own: Update, labels: NDArray[np.int64]) -> Update:
        """Return what a network with these weights says of the proxy, having learned from these labels.

        The logarithm of how often it saw each class, in part, is taken out (A. K. Menon et al., "Long-tail
        learning via logit adjustment", 2021, arXiv 2007.07314): others saw other classes.
        """
        seen = np.bincount(labels, minlength=self.network.classes) + 1.0
        own_mix = (self.config.balance * np.log(seen / seen.sum())).astype(np.float32)
        return spoken(self.schema, self.network.logits(own, self.proxy) - own_mix)


@dataclass(frozen=True, eq=False)
class Guided:
    """A network that keeps near what others say while it learns, as with DER near what it said itself."""

    network: Model
    past: Past
    strength: float

    def __getattr__(self, name: str) -> Any:
        """Leave all else to the network."""
        return getattr(self.network, name)

    def learn(
        self, weights: Update, samples: Samples, config: ClientConfig, seed: int, past: Past = NOTHING
    ) -> Update:
        """Return the weights after training on the samples, and near the consensus on the proxy."""
        gentle = config.model_copy(update={"replay_strength": 0.0, "logit_strength": self.strength})
        both = Past(self.past.samples, self.past.logits, past.fisher)
        return self.network.learn(weights, samples, gentle, seed, both)


def network_for(experiment: Experiment, client: int) -> ModelConfig:
    """Return the network of a client, counted from 0."""
    kinds = experiment.exchange.networks(experiment.model)
    return kinds[client % len(kinds)]


def open_peer(experiment: Experiment, network: Model) -> Peer | None:
    """Return the peer whose network this is, or None where weights travel.

    Raises:
        ConfigError: there are no proxy samples.
    """
    if not experiment.exchange.speaks_logits:
        return None
    proxy = proxy_of(experiment)
    return Peer(network, proxy, consensus_schema(proxy, network.classes), experiment.exchange)
