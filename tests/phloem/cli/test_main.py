"""The command line: what is wrong is one sentence and an exit code, and nothing was done."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import phloem
from phloem.cli.main import app
from phloem.ledger import Ledger
from phloem.simulation.grid import LocalGrid
from phloem.summary import summarise

TINY = {"data.clients": 3, "model.hidden": 8, "client.epochs": 1, "run.rounds": 2}


def settings(values: dict[str, Any]) -> list[str]:
    return [part for key, value in values.items() for part in ("--set", f"{key}={value}")]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder: good and bad files, where the command runs; any training fails the test."""
    rng = np.random.default_rng(0)
    x, y = rng.random((30, 4), np.float32), np.arange(30) % 3
    np.savez(tmp_path / "good.npz", x=x, y=y)
    np.savez(tmp_path / "nan.npz", x=np.where(x < 0.1, np.nan, x), y=y)
    np.savez(tmp_path / "misnamed.npz", inputs=x, labels=y)
    np.savez(tmp_path / "uneven.npz", x=x, y=y[:-1])
    (tmp_path / "not.toml").write_text("rounds: 5")
    (tmp_path / "wrong.toml").write_text("[run]\nround = 5\n")
    (tmp_path / "file").write_text("")
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "run.sqlite").write_text("somebody's")
    monkeypatch.chdir(tmp_path)

    def no_training(*args: object, **options: object) -> None:
        pytest.fail("bad input came as far as the clients")

    monkeypatch.setattr(LocalGrid, "send_and_receive", no_training)
    return tmp_path


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


BAD = {
    "unknown codec": (["--set", "uplink.codec=topkk:0.1"], "Did you mean 'topk'?"),
    "wrong chain": (["--set", "uplink.codec=zstd | topk:0.1"], "`topk` should come before"),
    "feedback on the downlink": (["--set", "downlink.codec=ef | fp16"], "a codec without `ef`"),
    "unknown key": (["--set", "run.round=5"], "Did you mean 'run.rounds'?"),
    "unknown section": (["--set", "networks.delay=1"], "The key 'networks' is unknown"),
    "unknown key in a file": (["wrong.toml"], "Did you mean 'run.rounds'?"),
    "alpha zero": (["--set", "data.partition=dirichlet:0"], "'dirichlet:NUMBER', in 1e-06..1e+06"),
    "alpha negative": (["--set", "data.partition=dirichlet:-1"], "'dirichlet:NUMBER', in 1e-06..1e+06"),
    "alpha no number": (["--set", "data.partition=dirichlet:x"], "'dirichlet:NUMBER', in 1e-06..1e+06"),
    "more clients than samples": (["--set", "data.clients=5000"], "`data.clients` should be in 1..1078"),
    "no clients": (["--set", "data.clients=0"], "`data.clients` should be in 1.."),
    "no data left": (["--set", "data.test_fraction=0.9"], "should leave rows to the clients"),
    "missing file": (["nowhere.toml"], "'nowhere.toml' should be a TOML file. Found: No such file"),
    "a path that reads as markup": (["[/red]x.toml"], "'[/red]x.toml' should be a TOML file"),
    "a folder for a file": (["used"], "Found: Is a directory"),
    "no TOML": (["not.toml"], "should be TOML"),
    "no assignment": (["--set", "run.rounds"], "should be KEY=VALUE"),
    "missing data": (["--set", "data.source=npz:nowhere.npz"], "Found no file 'nowhere.npz'"),
    "data that are no archive": (["--set", "data.source=npz:not.toml"], "should be an .npz archive"),
    "NaN in the data": (["--set", "data.source=npz:nan.npz"], "should be finite"),
    "wrong arrays": (["--set", "data.source=npz:misnamed.npz"], "should have one array of 'x'"),
    "uneven arrays": (["--set", "data.source=npz:uneven.npz"], "should have the shape (30,)"),
    "no ids": (
        ["--set", "data.source=npz:good.npz", "--set", "data.partition=natural"],
        "should find the clients' ids as 'client'",
    ),
    "unknown source": (["--set", "data.source=digit"], "or your own 'module:function'"),
    "unknown model": (["--set", "model.name=lenet"], "'mlp', 'cnn', 'gru'"),
    "a model that does not import": (["--set", "model.name=nowhere.at_all:net"], "importable module"),
    "a model that is not there": (["--set", "model.name=json:net"], "should name a function of 'json'"),
    "a model that does not fit": (
        ["--set", "data.source=npz:good.npz", "--set", "model.name=cnn", "--set", "data.clients=2"],
        "should have images",
    ),
    "unknown device": (["--set", "client.device=toaster"], "should be a device of this machine"),
    "zero rounds": (["--set", "run.rounds=0"], "'run.rounds' should be greater than or equal to 1"),
    "a seed below zero": (["--seed", "-1"], "'run.seed' should be greater than or equal to 0"),
    "distillation without samples": (
        ["--set", "server.distill.enabled=true", "--set", "data.proxy_fraction=0"],
        "needs proxy and validation samples",
    ),
    "a used folder": (["-o", "used"], "should be new or empty. Found files in 'used'"),
    "a file for a folder": (["-o", "file"], "should be new or empty. Found a file 'file'"),
    "a folder below a file": (["-o", "file/run"], "'file/run'"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("flags", [[], ["--json"]], ids=["", "json"])
def test_bad_input_is_one_sentence_and_exit_code_2(name: str, flags: list[str], folder: Path) -> None:
    """Protects the user's time: said before anything is trained or written, in words, without a traceback."""
    arguments, expected = BAD[name]
    before = tree(folder)
    result = CliRunner().invoke(app, ["simulate", *arguments, *flags])
    assert (result.exit_code, result.stdout) == (2, "")
    [line] = result.stderr.splitlines()
    assert line.startswith("phloem: ")
    assert expected in line
    assert re.search(r"[Ff]ound|is unknown|[Ff]inds? none", line), "what was found"
    assert len(line) < 500
    assert tree(folder) == before


def test_the_help_begins_with_what_one_does_first() -> None:
    """Protects a newcomer: a list in the order of the modules begins with what needs a run."""
    told = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "100"}).output
    verbs = [
        verb for verb in re.findall(r"^│ (\w+) ", told, re.MULTILINE) if verb in told.split("Commands")[1]
    ]
    assert verbs[:3] == ["simulate", "report", "resume"]


def test_the_package_is_a_program(root: Path) -> None:
    """Protects those whose scripts are not on the path: `python -m phloem`."""
    done = subprocess.run(
        [sys.executable, "-m", "phloem", "--version"], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == phloem.__version__


def test_a_folder_without_a_run_is_bad_input(folder: Path) -> None:
    """Protects `phloem report`: a wrong path is named, and nothing is made there."""
    before = tree(folder)
    for path in ("nowhere", "used", "file"):
        result = CliRunner().invoke(app, ["report", path])
        assert result.exit_code == 2
        assert result.stderr.startswith("phloem: ")
    assert tree(folder) == before


def test_a_run_that_gets_nowhere_is_a_failed_run(tmp_path: Path) -> None:
    """Protects scripts: exit code 3 is a run that began and could not go on; its ledger says why."""
    arguments = settings({**TINY, "client.learning_rate": 1e30, "run.rounds": 30, "run.reference": "false"})
    result = CliRunner().invoke(app, ["simulate", *arguments, "-o", str(tmp_path / "run")])
    assert result.exit_code == 3
    [line] = result.stderr.splitlines()
    assert "lower the learning rate" in line
    with Ledger.open(tmp_path / "run" / "run.sqlite") as ledger:
        assert ledger.facts()["state"] == "failed"
        assert ledger.query("SELECT count(*) FROM round") == [(3,)]


def test_a_run_is_shown_as_a_table_and_kept_in_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects the default: without -o a new folder below runs/, and the report with it."""
    monkeypatch.chdir(tmp_path)
    result = CliRunner(env={"COLUMNS": "120"}).invoke(app, ["simulate", *settings(TINY)])
    assert (result.exit_code, result.stderr) == (0, "")
    [folder] = (tmp_path / "runs").iterdir()
    assert "dense, same seed" in result.stdout
    assert f"folder {folder.relative_to(tmp_path)}\n" in result.stdout
    assert str(summarise(folder).model_sha256) in result.stdout
    assert (folder / "report.html").exists()
