"""A run that is interrupted, at whatever step: its ledger and its model are of one finished round."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from phloem.client.app import app
from phloem.compression.update import digest
from phloem.ledger import Evaluation, Ledger, Round
from phloem.ledger import Message as Row
from phloem.server import app as server_app
from phloem.server.app import serve
from phloem.simulation.grid import LocalGrid
from tests.server.mischief import EXPERIMENT


class _Interrupter:
    """Raises KeyboardInterrupt at the n-th call of any function that it watches."""

    def __init__(self, at: int) -> None:
        self.at, self.calls = at, 0

    def watch(self, patch: pytest.MonkeyPatch, owner: object, name: str, *, after: bool) -> None:
        original = getattr(owner, name)

        def watched(*arguments: object, **options: object) -> object:
            self.calls += 1
            if self.calls == self.at and not after:
                raise KeyboardInterrupt
            result = original(*arguments, **options)
            if self.calls == self.at and after:
                raise KeyboardInterrupt
            return result

        patch.setattr(owner, name, watched)


def interrupted_at(number: int, folder: Path, *, after: bool) -> bool:
    """Run with an interruption at the n-th step; tell whether the run was still going on."""
    experiment = EXPERIMENT.with_values({"data.clients": 1, "run.rounds": 2})
    with pytest.MonkeyPatch.context() as patch:
        press = _Interrupter(number)
        for owner, name in (
            (server_app, "save_model"),
            (Ledger, "record"),
            (Ledger, "commit"),
            (LocalGrid, "send_and_receive"),
            (server_app, "first_state"),
        ):
            press.watch(patch, owner, name, after=after)
        try:
            serve(LocalGrid(app, 1, experiment.to_flat()), experiment, folder)
        except KeyboardInterrupt:
            return True
    return False


def steps() -> Iterator[tuple[int, bool]]:
    return ((number, after) for after in (False, True) for number in range(1, 40))


def test_ctrl_c_at_any_step_leaves_one_finished_round(tmp_path: Path) -> None:
    """Protects the folder of an interrupted run: ledger and model are of the same round, whenever it was."""
    models: dict[str, str] = {}
    ended: set[int] = set()
    for number, after in steps():
        folder = tmp_path / f"{number}-{after}"
        if not interrupted_at(number, folder, after=after):
            continue
        if not list(folder.iterdir()):
            continue
        with Ledger.open(folder / "run.sqlite") as ledger:
            state, last = ledger.facts()["state"], len(ledger.read(Round))
            assert {row.round for row in ledger.read(Row)} <= {0, *range(1, last + 1)}
            scored = [row.round for row in ledger.read(Evaluation)]
        ended.add(last)
        assert state in ("running", "interrupted", "finished")
        assert state != "running" or not scored
        assert not list(folder.glob("*.part"))
        if scored:
            with safe_open(folder / "model.safetensors", "numpy") as file:
                assert file.metadata() == {"round": str(last)}
            found = digest(load_file(folder / "model.safetensors"))
            assert models.setdefault(str(last), found) == found
            assert scored == list(range(last + 1))
    assert ended == {0, 1, 2}, "the steps cover the run"
