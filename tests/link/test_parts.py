"""Devices with a part of the network on the link: what the simulation comes to, bit for bit."""

from __future__ import annotations

from pathlib import Path

from phloem.client.app import app
from phloem.config import Experiment
from phloem.server.app import serve
from phloem.simulation.run import simulate
from phloem.summary import summarise
from tests.link.rig import link

EXPERIMENT = Experiment().with_values(
    {
        "data.clients": 2,
        "model.hidden": 8,
        "submodel.widths": "1,0.5",
        "run.rounds": 3,
        "run.reference": False,
        "run.baselines": "none",
    }
)


def test_the_link_comes_to_the_simulations_hashes(tmp_path: Path) -> None:
    """Protects thin devices: a mask, and all that follows from it, is the same on every carrier."""
    simulated = summarise(simulate(EXPERIMENT, tmp_path / "simulated"))
    with link(tmp_path, run_config=EXPERIMENT.to_flat()) as made:
        for place in range(2):
            made.start(place, app)
        made.wait_for(2)
        serve(made.grid, EXPERIMENT, tmp_path / "run")
    carried = summarise(tmp_path / "run")
    assert carried.widths.keys() == {"0.5", "1"}
    assert carried.model_sha256 == simulated.model_sha256
    assert carried.ledger_sha256 == simulated.ledger_sha256
