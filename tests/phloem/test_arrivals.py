"""Arrivals: a pure function of seed, client and round, with the mean that is asked for."""

from __future__ import annotations

import numpy as np

from phloem.arrivals import STEADY, Arrivals

ROUNDS = range(2000)


def test_without_a_law_every_client_gets_the_mean_in_every_round() -> None:
    """Experiments without a scenario are what they were."""
    assert {STEADY.count(client, number, 32) for client in range(5) for number in range(50)} == {32}


def test_the_count_does_not_depend_on_who_asks_and_how_often() -> None:
    """An instruction that comes twice has to find the same samples."""
    law = Arrivals(seed=3, poisson=True, rush=4, every=7, slow=0.5, slow_clients=0.5)
    once = [law.count(client, number, 20) for client in range(4) for number in range(20)]
    again = [law.count(client, number, 20) for client in range(4) for number in range(20)]
    assert once == again
    assert once != [Arrivals(seed=4, poisson=True).count(c, r, 20) for c in range(4) for r in range(20)]


def test_poisson_has_the_mean_and_the_variance_of_its_law() -> None:
    """Mean and variance of 2000 draws of Poisson(20), to four standard errors."""
    counts = np.array([Arrivals(seed=1, poisson=True).count(0, number, 20) for number in ROUNDS])
    assert abs(counts.mean() - 20) < 4 * np.sqrt(20 / len(counts))
    assert abs(counts.var() - 20) < 4 * np.sqrt((2 * 20**2 + 20) / len(counts))


def test_a_rush_comes_once_every_so_many_rounds_at_each_clients_own_time() -> None:
    """Rushes are periodic, and not all clients have theirs together."""
    law = Arrivals(seed=1, rush=4, every=10)
    rounds = [[number for number in range(40) if law.count(client, number, 8) == 32] for client in range(8)]
    assert all(len(each) == 4 and set(np.diff(each)) == {10} for each in rounds)
    assert len({each[0] for each in rounds}) > 1


def test_about_the_share_of_clients_is_slow_and_stays_slow() -> None:
    """Slowness is a client's own."""
    law = Arrivals(seed=1, slow=0.25, slow_clients=0.3)
    counts = np.array([[law.count(client, number, 40) for number in range(3)] for client in range(400)])
    assert set(np.unique(counts)) == {10, 40}
    assert (counts == counts[:, :1]).all()
    assert abs((counts[:, 0] == 10).mean() - 0.3) < 0.1
