"""A run that was broken off goes on as if nothing had happened, killed anywhere, its last save damaged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from phloem.config import Experiment
from phloem.errors import ConfigError, RunError
from phloem.ledger import Ledger, Round
from phloem.server.checkpoint import FOLDER, Clients
from phloem.server.reopen import alone
from phloem.server.slots import MANIFEST
from phloem.simulation.grid import LocalGrid
from phloem.simulation.run import resume, simulate
from tests.server.killed import EXPERIMENT, Hashes, hashes, killed

CHAIN = [
    ("greeted", 0),
    ("parts written", 0),
    ("instructed", 1),
    ("replied", 1),
    ("aggregated", 2),
    ("recorded", 2),
    ("committed", 3),
    ("parts written", 3),
    ("manifest replaced", 3),
    ("saved", 4),
]


class _Stop(BaseException):
    """Ends a run at a point, and nothing of the project catches it."""


def broken_off(folder: Path, label: str, at: int, experiment: Experiment = EXPERIMENT) -> Path:
    def reach(found: str, round_number: int) -> None:
        if (found, round_number) == (label, at):
            raise _Stop

    with pytest.raises(_Stop):
        simulate(experiment, folder, reach=reach)
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Hashes:
    return hashes(simulate(EXPERIMENT, tmp_path_factory.mktemp("whole") / "run"))


@pytest.fixture(scope="module")
def after_3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was broken off after the third of its four rounds."""
    return broken_off(tmp_path_factory.mktemp("broken") / "run", "saved", 3)


@pytest.fixture
def broken(after_3: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(after_3, tmp_path / "run"))


def test_a_run_that_is_killed_at_every_kind_of_point_comes_to_the_same_bits(
    tmp_path: Path, whole: Hashes
) -> None:
    """Protects against power cuts: kill -9 ten times in one run, and model and ledger are as without."""
    for number, (label, at) in enumerate(CHAIN):
        assert killed(label, at, tmp_path / "run", EXPERIMENT, going_on=number > 0), (label, at)
    assert hashes(resume(tmp_path / "run")) == whole


def damages(folder: Path) -> Iterator[Path]:
    """The manifest of the newest slot, its largest file and its smallest."""
    slots = [path.parent for path in (folder / FOLDER).glob(f"*/{MANIFEST}")]
    newest = max(slots, key=lambda slot: int(json.loads(slot.joinpath(MANIFEST).read_text()[65:])["number"]))
    yield newest / MANIFEST
    yield max(newest.iterdir(), key=lambda path: path.stat().st_size)
    yield min(
        (path for path in newest.iterdir() if path.stat().st_size), key=lambda path: path.stat().st_size
    )


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_damaged_checkpoint_is_found_out_and_the_one_before_is_taken(
    which: int, broken: Path, whole: Hashes
) -> None:
    """Protects against bit rot: the ledger goes back with the checkpoint, the end is the same."""
    path = list(damages(broken))[which]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    rounds: list[int] = []
    resume(broken, on_progress=lambda progress: rounds.append(progress.report.round))
    assert rounds == [3, 4]
    assert hashes(broken) == whole


def test_nothing_is_made_up_where_all_is_damaged(broken: Path) -> None:
    """Protects against a run that quietly begins anew: it says that it cannot go on, and all stays."""
    for manifest in (broken / FOLDER).glob(f"*/{MANIFEST}"):
        manifest.write_bytes(manifest.read_bytes()[:-1])
    with pytest.raises(RunError, match="Found damage in all that is there"):
        resume(broken)
    with Ledger.open(broken / "run.sqlite") as ledger:
        assert len(ledger.read(Round)) == 3


def test_a_run_without_checkpoints_cannot_go_on(tmp_path: Path) -> None:
    """Protects the rounds that are there: they are not thrown away to begin anew."""
    experiment = EXPERIMENT.with_values({"server.checkpoint_every": 0})
    folder = broken_off(tmp_path / "run", "saved", 2, experiment)
    assert not (folder / FOLDER).exists()
    with pytest.raises(ConfigError, match=r"should have a checkpoint.*2 finished rounds"):
        resume(folder)


def test_rarer_checkpoints_are_as_exact(tmp_path: Path) -> None:
    """Protects long simulations, whose clients go back with the server however far that is."""
    experiment = EXPERIMENT.with_values({"server.checkpoint_every": 3})
    folder = broken_off(tmp_path / "run", "aggregated", 3, experiment)
    rounds: list[int] = []
    resume(folder, on_progress=lambda progress: rounds.append(progress.report.round))
    assert rounds == [1, 2, 3, 4]
    assert hashes(folder) == hashes(simulate(experiment, tmp_path / "whole"))


@pytest.mark.parametrize(
    "values",
    [
        {"server.aggregation": "fedadam"},
        {"server.aggregation": "fedavgm", "server.distill.enabled": True},
        {"uplink.codec": "ef | lowrank:2 | linear:8 | zstd", "client.optimizer": "adamw"},
        {"uplink.allocate": "bandit", "uplink.levels": "ef | rdo:bpp=0.06; ef | rdo:bpp=0.25"},
    ],
    ids=["adam", "momentum, distilled", "warm codec", "bandit"],
)
def test_what_is_remembered_between_rounds_comes_back(values: dict[str, object], tmp_path: Path) -> None:
    """Protects moments, warm starts and all else that makes the next round what it is."""
    experiment = EXPERIMENT.with_values(values)
    folder = broken_off(tmp_path / "run", "replied", 3, experiment)
    assert hashes(resume(folder)) == hashes(simulate(experiment, tmp_path / "whole"))


def test_settings_do_not_change_on_the_way(broken: Path) -> None:
    """Protects what the ledger says: a run is made with one set of settings."""
    path = broken / "experiment.toml"
    path.write_text(path.read_text().replace("rounds = 4", "rounds = 40"))
    with pytest.raises(ConfigError, match="settings it began with"):
        resume(broken)


def test_a_finished_run_is_left_alone(tmp_path: Path) -> None:
    """Protects results: there is nothing to go on with, and the checkpoint is gone with its use."""
    folder = simulate(EXPERIMENT.with_values({"run.rounds": 1}), tmp_path / "run")
    assert not (folder / FOLDER).exists()
    before = hashes(folder)
    with pytest.raises(ConfigError, match="finished"):
        resume(folder)
    assert hashes(folder) == before


def test_the_reference_goes_on_too(tmp_path: Path) -> None:
    """Protects the comparison: of a run whose dense reference was broken off only that is left to do."""
    experiment = EXPERIMENT.with_values({"run.reference": True, "run.rounds": 2})

    def stop(progress: object) -> None:
        done.append(progress)
        if len(done) == 3:
            raise _Stop

    done: list[object] = []
    with pytest.raises(_Stop):
        simulate(experiment, tmp_path / "run", on_progress=stop)
    rounds: list[tuple[str, int]] = []
    resume(tmp_path / "run", on_progress=lambda p: rounds.append((p.run, p.report.round)))
    assert rounds == [("reference", 2)]
    simulate(experiment, tmp_path / "whole")
    for part in (".", "reference"):
        assert hashes(tmp_path / "run" / part) == hashes(tmp_path / "whole" / part)


def test_one_process_at_a_time(broken: Path) -> None:
    """Protects a run from a second process that takes it for dead."""
    with alone(broken), pytest.raises(ConfigError, match="a run that goes on in it"):
        resume(broken)


@pytest.mark.parametrize("missing", ["experiment.toml", "run.sqlite"])
def test_a_folder_that_holds_no_run_says_so(missing: str, broken: Path) -> None:
    """Protects against half a run: what is missing is named."""
    (broken / missing).unlink()
    with pytest.raises(ConfigError, match=missing.replace(".", r"\.")):
        resume(broken)


def test_a_ledger_older_than_its_checkpoint_is_refused(broken: Path) -> None:
    """Protects the count of bytes: rounds that are in the model are in the ledger."""
    with Ledger.resume(broken / "run.sqlite", 1):
        pass
    with pytest.raises(RunError, match="should hold the 3 rounds"):
        resume(broken)


def test_the_local_carrier_has_its_clients_at_hand() -> None:
    """Protects simulations that go on: the server finds the clients' states where it looks for them."""
    assert isinstance(LocalGrid.__new__(LocalGrid), Clients)
