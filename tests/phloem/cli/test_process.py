"""The command line as a process: its exit codes, its one JSON object, and what Ctrl-C leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.numpy import load_file

from phloem.compression.update import digest
from phloem.config import Experiment
from phloem.errors import ConfigError
from phloem.ledger import Ledger
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

class Braked(nn.Sequential):
    def forward(self, x):
        if Path("brake").exists():
            time.sleep(0.05)
        return super().forward(x)

def braked(input_shape, classes):
    return Braked(nn.Flatten(), nn.Linear(64, classes))

def patient(input_shape, classes):
    return Patient(nn.Flatten(), nn.Linear(64, classes))
"""


def settings(values: dict[str, Any]) -> list[str]:
    return [part for key, value in values.items() for part in ("--set", f"{key}={value}")]


@contextmanager
def started(*arguments: str, cwd: Path, root: Path) -> Iterator[subprocess.Popen[str]]:
    """Start the command line as a user does, in a process of its own; it ends here at the latest."""
    with subprocess.Popen(
        [sys.executable, "-c", "from phloem.cli.main import main; main()", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=PATIENCE_S)
    return process.returncode, out, err


def wait_until(there: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not there():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def rounds_in(ledger: Path) -> int:
    try:
        with Ledger.open(ledger) as opened:
            [(rounds,)] = opened.query("SELECT count(*) FROM round")
    except ConfigError:  # not there yet, or about to be
        return 0
    return int(rounds)


def test_json_is_one_object_and_users_own_code_lies_where_they_stand(tmp_path: Path, root: Path) -> None:
    """Protects scripts, which read nothing but the object, and modules in the folder of the command."""
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "my.toml").write_text('[data]\nsource = "own:digits"\n[model]\nname = "own:net"\n')
    arguments = ["my.toml", *settings(TINY), "--seed", "7", "--no-reference", "--json", "-o", "out [1]"]
    with started("simulate", *arguments, cwd=tmp_path, root=root) as process:
        code, out, err = finish(process)
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
    with started("simulate", "--set", "run.rounds=0", cwd=tmp_path, root=root) as process:
        code, out, err = finish(process)
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
    arguments = ["--set", "data.source=own:slow", "-o", "out"]
    with started("simulate", *arguments, cwd=tmp_path, root=root) as process:
        wait_until((tmp_path / "waiting").exists, process)
        assert interrupt(process) == "Interrupted before the run began. Nothing was written.\n"
    assert not (tmp_path / "out").exists()


def test_ctrl_c_in_a_run_leaves_its_last_finished_round(tmp_path: Path, root: Path) -> None:
    """Protects what was computed: ledger and model are readable, and are those of one and the same round."""
    values = {**TINY, "run.rounds": 100_000}
    with started("simulate", *settings(values), "-o", "out", cwd=tmp_path, root=root) as process:
        wait_until(lambda: rounds_in(tmp_path / "out" / "run.sqlite") >= 2, process)
        said = interrupt(process)
    last = rounds_in(tmp_path / "out" / "run.sqlite")
    assert said.startswith(f"Interrupted. The ledger and the model after round {last} are in out.")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "experiment.toml",
        "run.sqlite",
        "model.safetensors",
        "checkpoint",
    }
    with safe_open(tmp_path / "out" / "model.safetensors", "numpy") as file:
        assert file.metadata() == {"round": str(last)}
    with Ledger.open(tmp_path / "out" / "run.sqlite") as ledger:
        assert ledger.facts()["state"] == "interrupted"
        assert ledger.query("SELECT max(round) FROM message") == [(last,)]
    again = Experiment().with_values({**TINY, "run.rounds": last, "run.reference": False})
    model = load_file(tmp_path / "out" / "model.safetensors")
    assert digest(model) == summarise(simulate(again, tmp_path / "again")).model_sha256


def test_a_run_that_was_told_to_end_goes_on(tmp_path: Path, root: Path) -> None:
    """Protects long runs on borrowed machines: a polite kill leaves `interrupted`, `resume` the same bits."""
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "brake").touch()
    values = settings({**TINY, "model.name": "own:braked", "run.rounds": 6})
    arguments = ["simulate", *values, "--no-reference", "--json", "-o"]
    with started(*arguments, "out", cwd=tmp_path, root=root) as process:
        wait_until(lambda: rounds_in(tmp_path / "out" / "run.sqlite") >= 2, process)
        process.send_signal(signal.SIGTERM)
        code, _, err = finish(process)
    assert (code, err.splitlines()[-1].endswith("To go on: phloem resume out")) == (130, True)
    with Ledger.open(tmp_path / "out" / "run.sqlite") as ledger:
        assert ledger.facts()["state"] == "interrupted"
    (tmp_path / "brake").unlink()
    found = []
    for command in (["resume", "out", "--json"], [*arguments, "whole"]):
        with started(*command, cwd=tmp_path, root=root) as process:
            code, out, err = finish(process)
        assert (code, err) == (0, "")
        summary = json.loads(out)
        found.append((summary["rounds"], summary["model_sha256"], summary["ledger_sha256"]))
    assert found[0] == found[1]
    with started("resume", "out", cwd=tmp_path, root=root) as process:
        code, out, err = finish(process)
    assert (code, out) == (2, "")
    assert "finished" in err


def test_ctrl_c_in_the_reference_leaves_the_run(tmp_path: Path, root: Path) -> None:
    """Protects the run itself: it is complete, and half a reference is not compared with it."""
    (tmp_path / "own.py").write_text(OWN)
    values = {**TINY, "model.name": "own:patient"}
    with started("simulate", *settings(values), "-o", "out", cwd=tmp_path, root=root) as process:
        wait_until((tmp_path / "waiting").exists, process)
        assert "after round 2 are in out" in interrupt(process)
    summary = summarise(tmp_path / "out")
    assert (summary.rounds, summary.reference) == (2, None)
    assert summary.model_sha256 == digest(load_file(tmp_path / "out" / "model.safetensors"))
    with Ledger.open(tmp_path / "out" / "reference" / "run.sqlite") as ledger:
        assert ledger.facts()["state"] == "interrupted"
