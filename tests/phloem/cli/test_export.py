"""`phloem export`: exit codes, and that it says what is missing before it works for minutes."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from typer.testing import CliRunner

from phloem.cli.main import app
from phloem.simulation.run import simulate


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one round."""
    from phloem.config import Experiment

    values: dict[str, object] = {
        "data.clients": 2,
        "run.rounds": 1,
        "run.reference": False,
        "model.hidden": "8",
    }
    return simulate(Experiment().with_values(values), tmp_path_factory.mktemp("runs") / "run")


def test_a_run_is_exported(run: Path, tmp_path: Path) -> None:
    """The card on standard output is JSON with the run's bytes in it."""
    import json

    pytest.importorskip("onnxruntime", reason='needs the extra: pip install "phloem[shrink]"')
    done = CliRunner().invoke(
        app, ["export", str(run), "-o", str(tmp_path / "out"), "--max-loss", "100", "--json"]
    )
    assert done.exit_code == 0, done.output
    card = json.loads(done.stdout)
    assert card["training"]["uplink_bytes"] > 0
    assert (tmp_path / "out" / "model.int8.onnx").stat().st_size == card["files"]["model.int8.onnx"]["bytes"]


def test_a_missed_budget_is_exit_code_four(run: Path, tmp_path: Path) -> None:
    """Better than any model can keep: the float model may not lose minus hundred points."""
    pytest.importorskip("onnxruntime", reason='needs the extra: pip install "phloem[shrink]"')
    done = CliRunner().invoke(
        app, ["export", str(run), "-o", str(tmp_path / "out"), "--float", "--max-loss", "-100"]
    )
    assert done.exit_code == 4
    assert (tmp_path / "out" / "model.onnx").exists()


@pytest.mark.parametrize(
    "arguments", [["--channels", "2"], ["--search", "-1"], ["--shared", "999"], ["--qat", "--float"]]
)
def test_bad_wishes_are_exit_code_two(run: Path, tmp_path: Path, arguments: list[str]) -> None:
    """Said in one line, with nothing written."""
    pytest.importorskip("onnxruntime", reason='needs the extra: pip install "phloem[shrink]"')
    done = CliRunner().invoke(app, ["export", str(run), "-o", str(tmp_path / "out"), *arguments])
    assert done.exit_code == 2
    assert not (tmp_path / "out").exists()


def test_what_is_no_run_is_told_apart(run: Path, tmp_path: Path) -> None:
    """Nothing there, a file, another folder, and a run without a model yet: each says what to do."""
    pytest.importorskip("onnxruntime", reason='needs the extra: pip install "phloem[shrink]"')
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    (unfinished / "experiment.toml").write_bytes((run / "experiment.toml").read_bytes())
    for folder, words in (
        (tmp_path / "nowhere", "nothing there"),
        (run / "experiment.toml", "a file"),
        (tmp_path, "a folder without it"),
        (unfinished, "phloem resume"),
    ):
        done = CliRunner().invoke(app, ["export", str(folder), "-o", str(tmp_path / "out")])
        assert done.exit_code == 2
        assert words in done.output.replace("\n", " ")
        assert not (tmp_path / "out").exists()


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that installs it."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "onnx" else find(name, *rest)
    )
    done = CliRunner().invoke(app, ["export", str(tmp_path), "-o", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert 'pip install "phloem[shrink]"' in done.output.replace("\n", "")
