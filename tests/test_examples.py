"""The presets: each says how it is run and which data it needs, and its settings fit its data."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from phloem.config import load
from phloem.learning import open_learner
from phloem.sources import open_federation

ROOT = Path(__file__).resolve().parent.parent
PRESETS = sorted((ROOT / "examples").glob("*.toml"))


def test_there_is_one_for_each_kind_of_data() -> None:
    """Images, a market, a network, activities, speech and text."""
    names = {path.stem for path in PRESETS}
    assert names >= {"mobile_images", "elec2", "intrusion", "activity", "spoken_digits", "next_character"}


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_a_preset_says_its_command_its_data_and_its_point(path: Path) -> None:
    """A reader needs nothing else to run it."""
    header = "\n".join(line for line in path.read_text().splitlines() if line.startswith("#"))
    source = load(path).data.source
    name = source.partition(":")[0]
    assert f"phloem simulate examples/{path.name}" in header
    assert "Shows " in header
    if source != "digits":
        assert re.search(rf"--set data\.source={name}:", header)
        assert f"Needs {Path(source.partition(':')[2]).name}, with the array" in header


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_a_presets_data_and_model_fit(path: Path) -> None:
    """The first round is a late place to find out that they do not."""
    experiment = load(path)
    name, _, file = experiment.data.source.partition(":")
    folder = Path(os.environ.get("PHLOEM_DATA", ROOT.parent / "shared" / "data"))
    place = folder / Path(file).name
    if file and not place.is_file():
        pytest.skip(f"{place.name} is not in {folder}; set PHLOEM_DATA to the folder that holds it")
    if file:
        experiment = experiment.with_values({"data.source": f"{name}:{place}"})
    federation = open_federation(experiment.data, experiment.run.seed)
    assert len(federation.shares) >= 5
    learner = open_learner(experiment.model, federation.input_shape, federation.classes)
    assert learner.schema.dense_bytes < 4_000_000
