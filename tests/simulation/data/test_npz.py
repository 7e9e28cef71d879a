"""The npz source: the documented arrays are read; anything else is a DataError that helps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phloem.errors import DataError
from phloem.seeds import generator
from phloem.simulation.data.npz import load_npz

X = np.arange(24, dtype=np.float32).reshape(6, 4)
Y = np.array([0, 1, 2, 0, 1, 2])
GOOD: dict[str, Any] = {"x": X, "y": Y}


def save(folder: Path, **arrays: Any) -> str:
    """Write an archive and return its path."""
    path = folder / "data.npz"
    np.savez(path, **arrays)
    return str(path)


@pytest.mark.parametrize("names", [("x", "y"), ("X", "y"), ("x_train", "y_train"), ("X_train", "y_train")])
def test_the_common_spellings_are_read(tmp_path: Path, names: tuple[str, str]) -> None:
    """An archive made for another tool often just works."""
    table = load_npz(save(tmp_path, **{names[0]: X, names[1]: Y, "note": "anything"}))
    assert np.array_equal(table.x, X)
    assert (table.y.tolist(), table.classes, table.ids, table.test) == (Y.tolist(), 3, None, None)


def test_ids_are_read_only_where_they_are_asked_for(tmp_path: Path) -> None:
    """An array that a run does not need cannot break it."""
    path = save(tmp_path, **GOOD, client=np.arange(5), user=list("aabbcc"))
    assert load_npz(path).ids is None
    ids = load_npz(path, "user").ids
    assert ids is not None
    assert ids.tolist() == list("aabbcc")


def test_the_archives_own_test_set_is_kept_apart(tmp_path: Path) -> None:
    """Published splits stay comparable."""
    table = load_npz(save(tmp_path, **GOOD, x_test=X[:2], y_test=Y[:2]))
    assert table.test is not None
    assert (len(table), len(table.test)) == (6, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": None}, "one array of 'x'.*none of them"),
        ({"y": None}, "one array of 'y'.*none of them"),
        ({"x_train": X}, r"Found \['x', 'x_train'\]"),
        ({"x": X[:5]}, r"'y' of .* shape \(5,\)"),
        ({"x": X * np.nan}, "finite"),
        ({"y": Y - 1}, r"Found -1\.\.1"),
        ({"y": Y.astype(float)}, "integer labels"),
        ({"y": Y * 0}, "2 classes at least. Found only 0"),
        ({"x": X[:0], "y": Y[:0]}, "no axis empty"),
        ({"y": Y.astype(object)}, "Object arrays cannot be loaded"),
        ({"x_test": X}, "one array of 'y_test'"),
        ({"y_test": Y}, "one array of 'x_test'"),
        ({"x_test": X[:, :3], "y_test": Y}, r"like the training inputs, .* \(n, 4\). Found"),
        ({"x_test": X.astype(np.uint8), "y_test": Y}, "like the training inputs"),
        ({"x_test": X, "y_test": Y + 1}, r"lie in 0\.\.2"),
    ],
)
def test_malformed_arrays_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    """The text names the array, what it should be and what it is."""
    arrays = {name: array for name, array in {**GOOD, **change}.items() if array is not None}
    with pytest.raises(DataError, match=message):
        load_npz(save(tmp_path, **arrays))


@pytest.mark.parametrize("ids", [np.arange(5), np.zeros(6), np.zeros((6, 1), int), None])
def test_malformed_ids_are_refused(tmp_path: Path, ids: Any) -> None:
    """Ids are an integer or a text for each row."""
    arrays = GOOD if ids is None else {**GOOD, "client": ids}
    with pytest.raises(DataError, match="'client'"):
        load_npz(save(tmp_path, **arrays), "client")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The folder that a relative path starts from is part of the answer."""
    for path in ("", str(tmp_path), str(tmp_path / "nothing.npz")):
        with pytest.raises(DataError, match=r"should name a file.*Found no file"):
            load_npz(path)


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    """A single array, a text and an empty file are no archives."""
    path = tmp_path / "data.npz"
    with path.open("wb") as file:
        np.save(file, X)
    for content in (path.read_bytes(), b"x,y\n1,2\n", b""):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"should be an \.npz archive"):
            load_npz(str(path))


def test_a_damaged_archive_raises_data_error_or_gives_a_checked_table(tmp_path: Path) -> None:
    """A file from a failing disk ends in one clear error, and pickles are never opened."""
    path = Path(save(tmp_path, **GOOD))
    whole = path.read_bytes()
    rng = generator(1, "damage")
    damaged = [whole[:cut] for cut in rng.integers(0, len(whole), 60)]
    for place, value in zip(rng.integers(0, len(whole), 240), rng.integers(1, 256, 240), strict=True):
        changed = bytearray(whole)
        changed[place] ^= value
        damaged.append(bytes(changed))
    refused = 0
    for content in damaged:
        path.write_bytes(content)
        try:
            table = load_npz(str(path))
        except DataError:
            refused += 1
        else:
            assert np.isfinite(table.x).all()
            assert table.y.min() >= 0
    assert refused > 100
