"""A simulated network: absence, loss and delay come from the seed, and rounds get by."""

from __future__ import annotations

from pathlib import Path

import pytest

from phloem.config import Experiment
from phloem.ledger import Ledger, Message, Rejection, Round
from phloem.simulation.network import Network, network_of
from phloem.simulation.run import resume, simulate
from phloem.summary import LEDGER_NAME, summarise
from tests.server.killed import hashes
from tests.server.test_resume import broken_off

EXPERIMENT = Experiment().with_values(
    {
        "data.clients": 10,
        "model.hidden": 4,
        "client.epochs": 1,
        "run.rounds": 6,
        "run.reference": False,
        "run.baselines": "none",
    }
)


def network(**values: float) -> Network:
    found = network_of(Experiment().with_values({f"network.{key}": value for key, value in values.items()}))
    assert found is not None
    return found


def rows(folder: Path) -> tuple[list[Round], list[Rejection], list[Message]]:
    with Ledger.open(folder / LEDGER_NAME) as ledger:
        rounds = [row for row in ledger.read(Round) if row.round]
        return rounds, ledger.read(Rejection), ledger.read(Message)


def test_without_settings_there_is_no_network() -> None:
    """Protects runs made so far: their messages all arrive, in the order in which they are sent."""
    assert network_of(Experiment()) is None


def test_the_shares_are_as_they_were_set() -> None:
    """Protects the meaning of the settings: of 4000 draws about as many are away, and of the others lost."""
    found = network(missing=0.3, lost=0.5)
    fates = [found.fate(number, str(client)) for number in range(200) for client in range(20)]
    assert sum(not fate.reached for fate in fates) == pytest.approx(0.3 * 4000, rel=0.05)
    assert sum(not fate.answered for fate in fates if fate.reached) == pytest.approx(0.5 * 2800, rel=0.05)


def test_delays_have_the_median_and_devices_a_speed_of_their_own() -> None:
    """Protects what over-selection is tried on: some devices are slow for good, and a deadline is one."""
    found = network(delay_s=10.0, delay_spread=1.0)
    by_client = [sorted(found.fate(n, str(client)).delay_s for n in range(101)) for client in range(60)]
    medians = sorted(delays[50] for delays in by_client)
    assert medians[30] == pytest.approx(10, rel=0.3)
    assert medians[50] / medians[10] > 2, "between devices"
    assert by_client[0][90] / by_client[0][10] > 2, "between rounds"
    server = {"server.round_timeout_s": 10.0, "network.delay_s": 10.0}
    strict = network_of(Experiment().with_values(server))
    assert strict is not None
    fates = [strict.fate(number, "7") for number in range(50)]
    assert {fate.answered for fate in fates} == {True, False}
    assert all(fate.answered == (fate.delay_s <= 10) for fate in fates)


def test_rounds_complete_with_a_third_missing(tmp_path: Path) -> None:
    """Protects a run whose devices come and go: every round does what it can, and says who was missing."""
    experiment = EXPERIMENT.with_values({"network.missing": 0.3})
    rounds, rejections, messages = rows(simulate(experiment, tmp_path / "run"))
    assert len(rounds) == 6
    assert all(row.accepted and row.accepted + row.rejected == row.selected == 10 for row in rounds)
    assert {row.code for row in rejections} == {"silent"}
    up = [row for row in messages if row.direction == "up" and row.kind == "train"]
    assert len(up) == sum(row.accepted for row in rounds), "who was not reached sends nothing"


def test_rounds_without_a_quorum_are_abandoned_and_counted(tmp_path: Path) -> None:
    """Protects the model from the few: a round that cannot be made changes nothing and leaves its rows."""
    experiment = EXPERIMENT.with_values({"network.missing": 0.6, "server.quorum": 0.5})
    folder = simulate(experiment, tmp_path / "run")
    rounds, rejections, _ = rows(folder)
    abandoned = [row.round for row in rounds if not row.accepted]
    assert 0 < summarise(folder).abandoned == len(abandoned) < 6
    assert {row.round for row in rejections if row.code == "quorum"} <= set(abandoned)
    for row in rounds:
        silent = sum(r.round == row.round and r.code == "silent" for r in rejections)
        assert (10 - silent >= 5) == bool(row.accepted)


STORM = {
    "network.missing": 0.2,
    "network.lost": 0.2,
    "network.delay_s": 20.0,
    "server.round_timeout_s": 30.0,
    "server.clients_per_round": 4,
    "server.over_selection": 1.6,
}


def test_the_weather_is_the_seeds(tmp_path: Path) -> None:
    """Protects equal runs: who is late, lost or away, and in which order the others come, is the same."""
    experiment = EXPERIMENT.with_values(STORM)
    first = simulate(experiment, tmp_path / "first")
    assert hashes(first) == hashes(simulate(experiment, tmp_path / "second"))
    assert {row.code for row in rows(first)[1]} == {"late", "silent"}
    folder = broken_off(tmp_path / "third", "replied", 4, experiment)
    assert hashes(resume(folder)) == hashes(first), "and a run that goes on meets it as well"


def test_a_late_reply_is_on_the_wire_all_the_same(tmp_path: Path) -> None:
    """Protects the count of bytes: what over-selection costs is in the ledger."""
    values = {"server.clients_per_round": 4, "server.over_selection": 1.5}
    rounds, rejections, messages = rows(simulate(EXPERIMENT.with_values(values), tmp_path / "run"))
    assert [(row.selected, row.accepted, row.rejected) for row in rounds] == [(6, 4, 2)] * 6
    assert {row.code for row in rejections} == {"late"}
    assert sum(row.direction == "up" and row.kind == "train" for row in messages) == 36
