"""The consensus of clients that have networks of their own, and the server's network that imitates it.

    what each client says ─> votes, or any other rule ─> consensus ─ imitate ─> the server's network

D. Li, J. Wang, "FedMD", 2019, arXiv 1910.03581, with compressed steps both ways; the votes are those of
`phloem.server.distill.teacher` for means, on logits.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from phloem.compression.update import Schema, Update, add
from phloem.config import Experiment
from phloem.consensus import LARGEST_LOGIT, consensus_schema, proxy_of, silence, softened, spoken
from phloem.learning import Model
from phloem.seeds import derive
from phloem.server.distill.teacher import SMOOTHING, certainty_of
from phloem.settings.logits import ExchangeConfig

FARTHEST = 2.5 * LARGEST_LOGIT
"""How far a client's word may be from the consensus in any logit: the whole range, and what a codec adds."""


@dataclass(frozen=True, eq=False)
class Consensus:
    """What everybody is asked about, and the network of the server that learns the answers."""

    network: Model
    proxy: NDArray[np.float32]
    schema: Schema
    config: ExchangeConfig
    seed: int

    def first(self) -> Update:
        """Return the first version: nobody has said anything."""
        return silence(self.schema)

    def votes(self) -> Votes | None:
        """Return what takes the clients' votes, or None where another rule makes the consensus."""
        return Votes(self.network.classes) if self.config.votes == "classes" else None

    def bounded(self, consensus: Update) -> dict[str, NDArray[np.float32]]:
        """Return the consensus as an honest client would say it, whatever was voted for."""
        [logits] = consensus.values()
        return spoken(self.schema, np.asarray(logits, np.float32))

    def learned(self, weights: Update, consensus: Update, round_number: int) -> Update:
        """Return the server's network once it has imitated the consensus of a round, if there is one."""
        if not any(tensor.any() for tensor in consensus.values()):
            return weights
        opinion = softened(consensus, self.config.temperature)
        lesson = self.config.lesson(self.config.server_steps)
        seed = derive(self.seed, "consensus", round_number)
        return self.network.imitate(weights, self.proxy, opinion, lesson, seed)


@dataclass
class Votes:
    """The clients' words on each sample and class, weighted by who knows the class and is certain.

    Add them in the sorted order of client ids.
    """

    classes: int
    _sum: NDArray[np.float64] | None = field(default=None, init=False)
    _weight: NDArray[np.float64] | None = field(default=None, init=False)

    def add(self, base: Update, update: Update, class_counts: NDArray[np.int64]) -> None:
        """Take a client's update of the logits `base`; without counts it knows all classes alike."""
        [step] = update.values()
        counts = class_counts if len(class_counts) else np.ones(self.classes)
        certain = certainty_of(softened(add(base, update), 1.0).astype(np.float64))
        weight = np.multiply.outer(certain, counts + SMOOTHING)
        if self._sum is None or self._weight is None:
            self._sum, self._weight = np.zeros_like(weight), np.zeros_like(weight)
        self._sum += weight * step
        self._weight += weight

    def apply_to(self, model: Update, rate: float) -> dict[str, NDArray[np.float32]]:
        """Return the consensus that the votes lead to."""
        [(name, logits)] = model.items()
        if self._sum is None or self._weight is None:
            return {name: logits.copy()}
        return {name: (logits + rate * self._sum / self._weight).astype(np.float32)}


def open_consensus(experiment: Experiment, network: Model) -> Consensus | None:
    """Return what the server needs where logits travel, or None where weights do.

    Raises:
        ConfigError: there are no proxy samples.
    """
    if not experiment.exchange.speaks_logits:
        return None
    proxy = proxy_of(experiment)
    schema = consensus_schema(proxy, network.classes)
    return Consensus(network, proxy, schema, experiment.exchange, experiment.run.seed)
