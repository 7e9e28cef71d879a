"""The hub's data sets, from a folder in its form: no network is asked."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from phloem.config import DataConfig
from phloem.errors import DataError, MissingExtra
from phloem.simulation.data.federate import federate
from phloem.simulation.data.hub import load_hub


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """An extra that is missing is named."""
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtra, match=r"phloem\[data\]"):
        load_hub("mnist", DataConfig(), None)


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for data sets, with the package at hand and its caches in a folder of this test."""
    for name in ("HF_HOME", "HF_DATASETS_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    folder = tmp_path / "set"
    folder.mkdir()
    return folder


def written(folder: Path, part: str, columns: dict[str, list[object]]) -> None:
    """Write a part of a data set."""
    parquet, pyarrow = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow")
    parquet.write_table(pyarrow.table(columns), folder / f"{part}.parquet")


def test_a_folder_of_numbers_becomes_a_federation_with_its_own_test(offline: Path) -> None:
    """Columns are inputs, the part `test` is the test, ids are kept."""
    written(offline, "train", {"a": [*range(20)], "who": ["ann", "bob"] * 10, "label": [0, 1, 1, 0] * 5})
    written(offline, "test", {"a": [100, 101], "who": ["eve", "eve"], "label": [0, 1]})
    federation = federate(DataConfig(source=f"hf:{offline}", partition="natural:who", clients=0), 1)
    assert federation.client_names == ("ann", "bob")
    assert federation.test.x.tolist() == [[100], [101]]


def test_lists_become_windows(offline: Path) -> None:
    """A column of lists of equal length is the input."""
    written(offline, "train", {"x": [[[1.0, 2.0]] * 3] * 8, "id": [*range(8)], "label": [0, 1] * 4})
    federation = federate(DataConfig(source=f"hf:{offline}", partition="iid", clients=2), 1)
    assert federation.input_shape == (1, 3, 2)
    assert np.array_equal(federation.shares[0].x[0, 0], [[1, 2]] * 3)


def test_the_test_is_read_as_the_training_rows_are(offline: Path) -> None:
    """A word or a class that one part does not have would move all others, and no score would say so."""
    written(offline, "train", {"a": ["red", "blue", "green", "red"], "label": ["x", "y", "z", "x"]})
    written(offline, "test", {"a": ["green", "red"], "label": ["z", "y"]})
    data = DataConfig(source=f"hf:{offline}", categories="onehot")
    test = load_hub(str(offline), data, None).test
    assert test is not None
    assert (test.x.tolist(), test.y.tolist()) == ([[0, 1, 0], [0, 0, 1]], [2, 1])


def test_inputs_of_several_shapes_are_refused(offline: Path) -> None:
    """Photographs often are."""
    written(offline, "train", {"x": [[1.0, 2.0], [1.0]], "label": [0, 1]})
    with pytest.raises(DataError, match=r"inputs of one shape. Found \(1,\), \(2,\)"):
        load_hub(str(offline), DataConfig(), None)


def test_what_is_no_data_set_is_refused(offline: Path) -> None:
    """A name that the hub does not know, a column that is not there."""
    with pytest.raises(DataError, match="should name a data set of Hugging Face's hub"):
        load_hub(str(offline / "none"), DataConfig(), None)
    with pytest.raises(DataError, match="Found no name"):
        load_hub("", DataConfig(), None)
    written(offline, "train", {"a": [1, 2], "kind": [0, 1]})
    with pytest.raises(DataError, match=r"should have the column 'label'. Found a, kind"):
        load_hub(str(offline), DataConfig(), None)
