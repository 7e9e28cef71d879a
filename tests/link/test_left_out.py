"""One device with other settings does not end a run: it is told why and ends, the others go on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from phloem.client.app import app
from phloem.client.journal import Journal
from phloem.client.link.node import Node
from phloem.client.link.session import Device
from phloem.config import Experiment
from phloem.errors import RunError
from phloem.ledger import Ledger, Rejection, Round
from phloem.server.app import serve
from tests.link.rig import PATIENCE_S, QUICK, link

EXPERIMENT = Experiment().with_values(
    {
        "data.clients": 2,
        "model.hidden": 4,
        "client.epochs": 1,
        "run.rounds": 3,
        "server.clients_per_round": 0,
        "run.reference": False,
    }
)


def test_a_device_with_other_data_is_told_and_left_out(tmp_path: Path) -> None:
    """Its inputs have another width than the server's: the run ends well without it, and it knows why."""
    np.savez(tmp_path / "own.npz", x=np.zeros((50, 7), "f4"), y=np.arange(50) % 10)

    async def misled() -> None:
        with Journal(tmp_path / "device-1" / "journal.sqlite") as journal:
            node = Node(app, journal, {"data": f"npz:{tmp_path / 'own.npz'}"})
            await Device(node, member, QUICK).attend()

    with link(tmp_path, EXPERIMENT.link, EXPERIMENT.to_flat(), clients=2) as made:
        made.start(0, app)
        member = made.member(1)
        wrong = asyncio.run_coroutine_threadsafe(misled(), made.service.loop)
        made.wait_for(2)
        serve(made.grid, EXPERIMENT, tmp_path / "run")
        with pytest.raises(RunError, match=r"goes on without this device.*model"):
            wrong.result(PATIENCE_S)
        assert made.service.counts["refused"] == 1
    with Ledger.open(tmp_path / "run" / "run.sqlite") as ledger:
        [rejection] = ledger.read(Rejection)
        assert rejection.code == "greeting"
        assert "model" in rejection.reason
        assert [row.accepted for row in ledger.read(Round)] == [1, 1, 1]
