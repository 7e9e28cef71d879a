"""The command line: what is wrong is one sentence and an exit code, and Ctrl-C leaves what was finished."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file
from typer.testing import CliRunner

from phloem.cli import app
from phloem.compression.update import digest
from phloem.config import Experiment
from phloem.ledger import Ledger
from phloem.simulation.grid import LocalGrid
from phloem.simulation.run import simulate
from phloem.summary import summarise

PATIENCE_S = 120
TINY = {"data.clients": 3, "model.hidden": 8, "client.epochs": 1, "run.rounds": 2}
OWN = """
import time
from pathlib import Path
from torch import nn
from phloem.sources import open_federation

def digits(data, seed):
    return open_federation(data.model_copy(update={"source": "digits"}), seed)

def slow(data, seed):
    Path("waiting").touch()
    time.sleep(600)

def net(input_shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes))

class Patient(nn.Sequential):
    def forward(self, x):
        if Path("out/reference").exists():
            Path("waiting").touch()
            time.sleep(600)
        return super().forward(x)

def patient(input_shape, classes):
    return Patient(nn.Flatten(), nn.Linear(64, classes))
"""


def settings(values: dict[str, Any]) -> list[str]:
    return [part for key, value in values.items() for part in ("--set", f"{key}={value}")]


def start(*arguments: str, cwd: Path, root: Path) -> subprocess.Popen[str]:
    """Start the command line as a user does, in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", "from phloem.cli import main; main()", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    try:
        out, err = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    return process.returncode, out, err


def wait_until(there: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not there():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def rounds_in(ledger: Path) -> int:
    if not ledger.exists():
        return 0
    with Ledger.open(ledger) as opened:
        [(rounds,)] = opened.query("SELECT count(*) FROM round")
    return int(rounds)


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
    "alpha zero": (["--set", "data.partition=dirichlet:0"], "'dirichlet:ALPHA' with ALPHA in"),
    "alpha negative": (["--set", "data.partition=dirichlet:-1"], "'dirichlet:ALPHA' with ALPHA in"),
    "alpha no number": (["--set", "data.partition=dirichlet:x"], "'dirichlet:ALPHA' with ALPHA in"),
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
    "unknown source": (["--set", "data.source=digit"], "'digits', 'npz:PATH' or your own"),
    "unknown model": (["--set", "model.name=lenet"], "'mlp', 'cnn' or your own"),
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


def test_json_is_one_object_and_users_own_code_lies_where_they_stand(tmp_path: Path, root: Path) -> None:
    """Protects scripts, which read nothing but the object, and modules in the folder of the command."""
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "my.toml").write_text('[data]\nsource = "own:digits"\n[model]\nname = "own:net"\n')
    arguments = ["my.toml", *settings(TINY), "--seed", "7", "--no-reference", "--json", "-o", "out [1]"]
    code, out, err = finish(start("simulate", *arguments, cwd=tmp_path, root=root))
    assert (code, err) == (0, "")
    summary = json.loads(out)
    assert summary == summarise(tmp_path / "out [1]").as_dict() | {"run_dir": "out [1]"}
    assert (summary["rounds"], summary["clients"], summary["reference"]) == (2, 3, None)
    with Ledger.open(tmp_path / "out [1]" / "run.sqlite") as ledger:
        facts = ledger.facts()
    assert facts["command"] == (
        "phloem simulate my.toml --set data.clients=3 --set model.hidden=8 --set client.epochs=1 "
        "--set run.rounds=2 --seed 7 --no-reference"
    )
    assert facts["seed"] == "7"


def test_a_process_says_bad_input_by_its_exit_code(tmp_path: Path, root: Path) -> None:
    """Protects shells: the code is the process's own, and the sentence is on standard error."""
    code, out, err = finish(start("simulate", "--set", "run.rounds=0", cwd=tmp_path, root=root))
    assert (code, out) == (2, "")
    assert err.startswith("phloem: 'run.rounds' should be")
    assert list(tmp_path.iterdir()) == []


def interrupt(process: subprocess.Popen[str]) -> str:
    """Press Ctrl-C, and return what the process said before it ended."""
    process.send_signal(signal.SIGINT)
    code, out, err = finish(process)
    assert (code, out) == (130, "")
    assert "Traceback" not in err
    return err


def test_ctrl_c_before_the_first_round_leaves_nothing(tmp_path: Path, root: Path) -> None:
    """Protects against folders of runs that never began."""
    (tmp_path / "own.py").write_text(OWN)
    process = start("simulate", "--set", "data.source=own:slow", "-o", "out", cwd=tmp_path, root=root)
    wait_until((tmp_path / "waiting").exists, process)
    assert interrupt(process) == "Interrupted before the run began. Nothing was written.\n"
    assert not (tmp_path / "out").exists()


def test_ctrl_c_in_a_run_leaves_its_last_finished_round(tmp_path: Path, root: Path) -> None:
    """Protects what was computed: ledger and model are readable, and are those of one and the same round."""
    values = {**TINY, "run.rounds": 100_000}
    process = start("simulate", *settings(values), "-o", "out", cwd=tmp_path, root=root)
    wait_until(lambda: rounds_in(tmp_path / "out" / "run.sqlite") >= 2, process)
    said = interrupt(process)
    last = rounds_in(tmp_path / "out" / "run.sqlite")
    assert said.startswith(f"Interrupted. The ledger and the model after round {last} are in out.")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "experiment.toml",
        "run.sqlite",
        "model.safetensors",
    }
    with safe_open(tmp_path / "out" / "model.safetensors", "numpy") as file:
        assert file.metadata() == {"round": str(last)}
    with Ledger.open(tmp_path / "out" / "run.sqlite") as ledger:
        assert ledger.facts()["state"] == "interrupted"
        assert ledger.query("SELECT max(round) FROM message") == [(last,)]
    again = Experiment().with_values({**TINY, "run.rounds": last, "run.reference": False})
    model = load_file(tmp_path / "out" / "model.safetensors")
    assert digest(model) == summarise(simulate(again, tmp_path / "again")).model_sha256


def test_ctrl_c_in_the_reference_leaves_the_run(tmp_path: Path, root: Path) -> None:
    """Protects the run itself: it is complete, and half a reference is not compared with it."""
    (tmp_path / "own.py").write_text(OWN)
    values = {**TINY, "model.name": "own:patient"}
    process = start("simulate", *settings(values), "-o", "out", cwd=tmp_path, root=root)
    wait_until((tmp_path / "waiting").exists, process)
    assert "after round 2 are in out" in interrupt(process)
    summary = summarise(tmp_path / "out")
    assert (summary.rounds, summary.reference) == (2, None)
    assert summary.model_sha256 == digest(load_file(tmp_path / "out" / "model.safetensors"))
    with Ledger.open(tmp_path / "out" / "reference" / "run.sqlite") as ledger:
        assert ledger.facts()["state"] == "interrupted"
