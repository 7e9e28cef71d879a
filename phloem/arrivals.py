"""How many samples reach a client in a round: constant, Poisson, in rushes, fewer at slow clients.

The count is a pure function of the seed, the client and the round: whoever asks, in whichever
process and how often, gets the same answer, so an instruction that comes twice finds the same samples.
"""

from __future__ import annotations

from dataclasses import dataclass

from phloem.seeds import generator


@dataclass(frozen=True, slots=True)
class Arrivals:
    """The law of arrival; as it stands by default every client gets the mean in every round.

    Factors multiply: a slow client in a rush gets `mean * slow * rush`.
    """

    seed: int = 0
    poisson: bool = False
    """Whether the count is drawn, with that mean, or is the mean itself."""
    rush: float = 1.0
    """By how much there is more in a rush; one lasts a round and comes every `every` rounds, at the client's
    own time."""
    every: int = 0
    slow: float = 1.0
    """The factor of slow clients."""
    slow_clients: float = 0.0
    """The share of clients that are slow, each drawn on its own."""

    def count(self, client: int, round_number: int, mean: int) -> int:
        """Return how many samples client `client` is given if it is asked in round `round_number`.

        `mean` is `client.samples_per_round`. 0 is possible: the client then has nothing new. In a round in
        which a client is not asked, its stream waits.
        """
        expected = float(mean)
        if self.slow_clients and generator(self.seed, "slow", client).random() < self.slow_clients:
            expected *= self.slow
        if self.every:
            offset = int(generator(self.seed, "rush", client).integers(self.every))
            if (round_number + offset) % self.every == 0:
                expected *= self.rush
        if self.poisson:
            return int(generator(self.seed, "arrivals", client, round_number).poisson(expected))
        return round(expected)


STEADY = Arrivals()
