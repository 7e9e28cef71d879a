"""What is exported is complete, true of its own files, and the same for the same wishes."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason='needs the extra: pip install "phloem[shrink]"')
pytest.importorskip("torch_pruning", reason='needs the extra: pip install "phloem[shrink]"')

from phloem.errors import ConfigError
from phloem.server.shrink.lessons import Lesson
from phloem.server.shrink.package import Package, export
from phloem.server.shrink.recipe import Wishes
from tests.server.shrink.networks import trained_run

SHORT = {
    "lesson": Lesson(steps=10),
    "student_lesson": Lesson(steps=10, learning_rate=0.01),
    "max_loss_points": 100.0,
}

RUN_ALONE = """
import sys, numpy, onnxruntime
with numpy.load(sys.argv[2]) as file:
    x, y = file["x"], file["y"]
logits = onnxruntime.InferenceSession(sys.argv[1]).run(None, {"x": x})[0]
assert not {"torch", "phloem", "onnx"} & set(sys.modules)
print((logits.argmax(1) == y).mean())
"""


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """The run's own model, in float and int8."""
    return export(trained_run(), Wishes(), tmp_path_factory.mktemp("export") / "plain", licence="CC0-1.0")


def test_int8_keeps_to_its_promises(plain: Package) -> None:
    """No loss beyond 0.3 points; even a file of 19 kB, most of it graph, is more than twice as small."""
    models, files = plain.card["models"], plain.card["files"]
    before, after = models["model.onnx"], models["model.int8.onnx"]
    assert before["validation"]["accuracy"] - after["validation"]["accuracy"] <= 0.003
    assert after["agreement_with_float"] >= 0.98
    assert files["model.onnx"]["bytes"] > 2 * files["model.int8.onnx"]["bytes"]
    assert plain.within_budget


def test_the_card_is_true_of_the_files(plain: Package) -> None:
    """Sizes and hashes are those of what lies there, and nothing else lies there but the card."""
    found = {path.name for path in plain.directory.iterdir()}
    assert found == {*plain.card["files"], "card.json", "card.md"}
    for name, facts in plain.card["files"].items():
        data = (plain.directory / name).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (facts["bytes"], facts["sha256"])
    written = json.loads((plain.directory / "card.json").read_text(encoding="utf-8"))
    assert written == json.loads(json.dumps(plain.card))
    page = (plain.directory / "card.md").read_text(encoding="utf-8")
    assert "CC0-1.0" in page
    assert "unlabelled" in page or "without labels" in page


def test_onnx_runtime_alone_gives_the_cards_accuracy(plain: Package, tmp_path: Path) -> None:
    """In a process that has neither torch nor phloem loaded."""
    test = trained_run().test
    np.savez(tmp_path / "test.npz", x=test.x, y=test.y)
    command = [
        sys.executable,
        "-c",
        RUN_ALONE,
        str(plain.directory / "model.int8.onnx"),
        str(tmp_path / "test.npz"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert float(done.stdout) == pytest.approx(plain.card["models"]["model.int8.onnx"]["test"]["accuracy"])


def test_the_same_wishes_give_the_same_models(tmp_path: Path) -> None:
    """All steps at once, twice: every model's bytes are equal, and each step made the network smaller."""
    wishes = Wishes(student=0.5, channels=0.25, rank=0.8, shared=8, **SHORT)  # type: ignore[arg-type]
    cards = [export(trained_run(), wishes, tmp_path / name).card for name in "ab"]
    assert cards[0]["files"] == cards[1]["files"]
    steps = cards[0]["steps"]
    assert len(steps) >= 5
    sizes = [step["parameters"] for step in steps]
    assert sizes[0] > sizes[1] > sizes[2] > sizes[3] >= sizes[4]


def test_shared_values_and_taught_rounding_ship(tmp_path: Path) -> None:
    """Sixteen values a layer are a file at half a byte a weight; the card says what rounding lessons did."""
    wishes = Wishes(shared=16, rounding=True, **SHORT)  # type: ignore[arg-type]
    card = export(trained_run(), wishes, tmp_path / "shared").card
    small, full = (card["files"][name]["bytes"] for name in ("model.shared.onnx", "model.onnx"))
    assert small < full / 4
    assert card["models"]["model.shared.onnx"]["test"]["accuracy"] > 0.5
    assert card["int8"]["rounding_lessons"] in ("kept", "no better")
    worst = min(model["validation"]["accuracy"] for model in card["models"].values())
    lost = card["steps"][0]["validation_accuracy"] - worst
    assert card["budget"]["lost_points"] == pytest.approx(100 * lost)


def test_a_budget_that_is_missed_is_told(tmp_path: Path) -> None:
    """An untaught student loses points; the files are written all the same."""
    wishes = Wishes(student=0.05, student_lesson=Lesson(steps=1), max_loss_points=1.0)
    package = export(trained_run(), wishes, tmp_path / "small", int8=False)
    assert not package.within_budget
    assert package.card["budget"]["lost_points"] > 1
    assert (package.directory / "model.onnx").exists()
    assert not (package.directory / "model.int8.onnx").exists()


def test_a_folder_with_something_in_it_is_left_alone(plain: Package) -> None:
    """Nothing is overwritten."""
    with pytest.raises(ConfigError, match="new or empty"):
        export(trained_run(), Wishes(), plain.directory)


@pytest.mark.parametrize("wrong", [{"student": 1.5}, {"channels": -0.1}, {"shared": 1}])
def test_wishes_are_checked_first(wrong: dict[str, float]) -> None:
    """Before a run is opened."""
    with pytest.raises(ConfigError, match="should be"):
        Wishes(**wrong)  # type: ignore[arg-type]


def test_a_search_ships_what_it_found(tmp_path: Path) -> None:
    """The packed file is in the folder, at the size of its trial, and the same search finds it again."""
    pytest.importorskip("optuna", reason='needs the extra: pip install "phloem[tune]"')
    wishes = Wishes(trials=3, **SHORT)  # type: ignore[arg-type]
    cards = [export(trained_run(), wishes, tmp_path / name, int8=False).card for name in "ab"]
    assert cards[0]["search"] == cards[1]["search"]
    assert cards[0]["files"] == cards[1]["files"]
    assert cards[0]["files"]["model.phloem"]["bytes"] == cards[0]["search"]["bytes"] < 4 * 4810 / 3
