"""Who is away in a round, whose reply is lost, and how long the others take: a draw from the run's seed.

Nothing is remembered from round to round but each device's own speed, and that is drawn from the seed as
well: a run that goes on after a crash meets the network that it would have met.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from phloem.config import Experiment, NetworkConfig
from phloem.seeds import generator


@dataclass(frozen=True, order=True)
class Fate:
    """What becomes of an instruction and its reply; replies arrive in the order of their fates."""

    delay_s: float
    turn: float
    """Decides between equal delays."""
    reached: bool = True
    """Whether the instruction comes to its client."""
    answered: bool = True
    """Whether a reply comes back, in time."""


@dataclass(frozen=True)
class Network:
    """The devices and the network of a simulation."""

    config: NetworkConfig
    seed: int
    deadline_s: float

    def fate(self, round_number: int, client: str) -> Fate:
        """Return what becomes of a client's instruction in a round: the same, whoever else is asked."""
        rng = generator(self.seed, "network", round_number, client)
        away, lost, turn = rng.random(3)
        slow = (generator(self.seed, "speed", client).normal() + rng.normal()) / math.sqrt(2)
        delay_s = self.config.delay_s * math.exp(self.config.delay_spread * slow)
        reached = bool(away >= self.config.missing)
        answered = reached and bool(lost >= self.config.lost) and delay_s <= self.deadline_s
        return Fate(delay_s, turn, reached, answered)


def network_of(experiment: Experiment) -> Network | None:
    """Return what an experiment's messages meet; None where all arrive, and in what order is all the same."""
    config, server = experiment.network, experiment.server
    if not (config.missing or config.lost or config.delay_s or server.over_selection > 1):
        return None
    return Network(config, experiment.run.seed, server.round_timeout_s)
