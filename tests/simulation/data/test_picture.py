"""The picture of a scenario: every sample is in it once, at its time."""

from __future__ import annotations

import numpy as np

from phloem.config import DataConfig
from phloem.federation import Federation, Samples
from phloem.simulation.data.federate import federate
from phloem.simulation.data.picture import as_text, mix_over_time


def share(*labels: int) -> Samples:
    """Make a share of these labels."""
    return Samples(np.zeros((len(labels), 1), np.float32), np.array(labels, np.int64))


def federation(*shares: Samples, classes: int = 3) -> Federation:
    """Make a federation of these shares."""
    return Federation(shares, share(), share(), share().x, classes, (1,))


def test_every_sample_is_in_one_bin() -> None:
    """The counts are of all samples, whatever the number of bins."""
    given = federate(DataConfig(clients=5, scenario="tasks:5 | swap:at=0.7"), 1)
    for bins in (1, 7, 500):
        mix = mix_over_time(given, bins)
        assert mix.counts.shape == (5, bins, 10)
        for client, own in enumerate(given.shares):
            assert mix.counts[client].sum(axis=0).tolist() == np.bincount(own.y, minlength=10).tolist()
        assert mix.drifts.sum() == len(given.drifts)
        assert set(np.unique(mix.shares.sum(axis=2).round(9))) <= {0, 1}
        assert ((mix.concepts < 0) == (mix.counts.sum(axis=2) == 0)).all()


def test_time_runs_from_left_to_right() -> None:
    """A class that comes late is on the right."""
    mix = mix_over_time(federation(share(0, 0, 0, 0, 1, 2, 2, 2)), 4)
    assert mix.counts[0].argmax(axis=1).tolist() == [0, 0, 1, 2]
    assert mix.counts[0].sum(axis=1).tolist() == [2, 2, 2, 2]


def test_the_text_shows_the_leading_class_and_what_is_left_out() -> None:
    """A mix is a dot, an empty bin a blank; no client is passed over in silence."""
    shares = (share(0, 0, 1, 2), share(1, 1), *(share(2) for _ in range(3)))
    text = as_text(mix_over_time(federation(*shares, classes=40), 2), clients=2)
    assert text.splitlines() == [
        "client   0  class   01",
        "            concept 00",
        "client   1  class   11",
        "            concept 00",
        "and 3 more clients",
    ]
    assert as_text(mix_over_time(federation(share(0, 1, 2)), 1)).splitlines()[0].endswith("·")
    assert as_text(mix_over_time(federation(share(), share(1)), 2)).splitlines()[0] == "client   0  class"
