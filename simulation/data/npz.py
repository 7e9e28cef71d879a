"""The source `npz:PATH`: the user's own arrays in one NumPy archive.

| array | shape | meaning |
|---|---|---|
| `x` | `(n, ...)` | inputs of any real dtype; uint8 is scaled from 0..255 to 0..1 |
| `y` | `(n,)` | integer labels 0..classes-1 |
| `client` | `(n,)` | optional: each row's natural client, integers or text |
| `x_test`, `y_test` | | optional: the test set; without them one is cut from the rows |

`X`, `x_train`, `X_train`, `y_train`, `X_test` are read as well. Pickled objects never are.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, is_zipfile

import numpy as np
from numpy.typing import NDArray

from phloem.errors import DataError
from phloem.simulation.data.table import Table, as_inputs, check_inputs, check_labels

INPUTS = ("x", "X", "x_train", "X_train")
LABELS = ("y", "y_train")
TEST_INPUTS = ("x_test", "X_test")
TEST_LABELS = ("y_test",)

# What a damaged, encrypted or lying archive makes zipfile, zlib and NumPy raise.
UNREADABLE = (OSError, ValueError, EOFError, KeyError, MemoryError, RuntimeError, BadZipFile, zlib.error)


def load_npz(path: str, ids_name: str | None = None, *, label: str = "", strict: bool = True) -> Table:
    """Read an archive; `ids_name` is the array of natural client ids, where they are needed.

    `label` is the array of labels, if it has another name. Unless `strict`, rows need not be finite.

    Raises:
        DataError: the file or an array is missing, malformed, not finite or too small.
    """
    labels = (label,) if label else LABELS
    optional = [*INPUTS, *TEST_INPUTS, *TEST_LABELS, *labels, *([ids_name] if ids_name else [])]
    arrays = read_arrays(path, optional)
    x_name, x = _pick(arrays, INPUTS, path)
    y_name, found = _pick(arrays, labels, path)
    check_inputs(x, f"{x_name!r} of {path}", finite=strict)
    y = check_labels(found, len(x), f"{y_name!r} of {path}", strict=strict)
    table = Table(x, y, ids=_ids(arrays, ids_name, len(x), path), test=_test(arrays, x, y, path, strict))
    if len(np.unique(y)) < 2:
        raise DataError(
            f"{y_name!r} of {path} should have 2 classes at least. Found only {y[0]}. Use other data."
        )
    return table


def load_set(path: str, name: str, wanted: Iterable[str]) -> Mapping[str, NDArray[Any]]:
    """Return all the named arrays of the archive of a known data set.

    Raises:
        DataError: the file is missing or damaged, or an array is not in it or of another length.
    """
    wanted = tuple(wanted)
    if not path:
        raise DataError(
            f"`data.source` should say where the data set is, as in '{name}:PATH'. Found no path. Name its "
            f".npz file, with the arrays {', '.join(wanted)}."
        )
    arrays = read_arrays(path, wanted)
    missing = [each for each in wanted if each not in arrays]
    if missing:
        raise DataError(
            f"{path} should be the data set {name}, with the arrays {', '.join(wanted)}. Found no "
            f"{', '.join(missing)}. Name another file, or use 'npz:PATH'."
        )
    return arrays


def read_arrays(path: str, wanted: Iterable[str]) -> Mapping[str, NDArray[Any]]:
    """Return those of the wanted arrays that are there; the others are not even unpacked.

    Raises:
        DataError: the file is missing, or no archive of plain arrays.
    """
    if not Path(path).is_file():
        raise DataError(
            f"`data.source` should name a file, as in 'npz:PATH'. Found no file {path!r} "
            f"from {Path.cwd()}. Check the path."
        )
    if not is_zipfile(path):
        raise DataError(
            f"{path} should be an .npz archive. Found another kind of file, or a damaged one. "
            "Write it with np.savez_compressed(PATH, x=..., y=...)."
        )
    arrays: dict[str, NDArray[Any]] = {}
    try:
        # Opened here: NumPy leaves its own handle open where it fails.
        with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as archive:
            for name in set(wanted).intersection(archive.files):
                array = archive[name]
                if not isinstance(array, np.ndarray):  # NumPy gives a member that is no array as its bytes
                    raise ValueError(f"a member {name!r} that is no array")
                arrays[name] = array
    except UNREADABLE as error:
        raise DataError(
            f"{path} should be an .npz archive of plain arrays. Found: {error}. "
            "Write it with np.savez_compressed(PATH, x=..., y=...), without objects."
        ) from error
    return arrays


def _pick(arrays: Mapping[str, NDArray[Any]], names: tuple[str, ...], path: str) -> tuple[str, NDArray[Any]]:
    found = [name for name in names if name in arrays]
    if len(found) != 1:
        raise DataError(
            f"{path} should have one array of {', '.join(map(repr, names))}. "
            f"Found {found if found else 'none of them'}. Write it with np.savez(PATH, x=..., y=...)."
        )
    return found[0], arrays[found[0]]


def _ids(arrays: Mapping[str, NDArray[Any]], name: str | None, rows: int, path: str) -> NDArray[Any] | None:
    if name is None:
        return None
    if name not in arrays:
        raise DataError(
            f"The partition 'natural' should find the clients' ids as {name!r} in {path}. Found no such "
            "array. Name another with 'natural:ARRAY', or choose another partition."
        )
    ids = arrays[name]
    if ids.dtype.kind not in "iuU" or ids.shape != (rows,):
        raise DataError(
            f"{name!r} of {path} should hold an integer or text for each of {rows} rows. "
            f"Found {ids.dtype} {ids.shape}. Store the ids as such an array."
        )
    return ids


def _test(
    arrays: Mapping[str, NDArray[Any]], x: NDArray[Any], y: NDArray[Any], path: str, strict: bool
) -> Table | None:
    if not any(name in arrays for name in (*TEST_INPUTS, *TEST_LABELS)):
        return None
    x_name, x_test = _pick(arrays, TEST_INPUTS, path)
    y_name, labels = _pick(arrays, TEST_LABELS, path)
    check_inputs(x_test, f"{x_name!r} of {path}", finite=strict)
    y_test = check_labels(labels, len(x_test), f"{y_name!r} of {path}", strict=strict)
    if x_test.dtype != x.dtype or as_inputs(x_test[:1]).shape != as_inputs(x[:1]).shape:
        shape = ", ".join(map(str, x.shape[1:]))
        raise DataError(
            f"{x_name!r} of {path} should be like the training inputs, {x.dtype} (n, {shape}). Found "
            f"{x_test.dtype} {x_test.shape}. Prepare both in the same way."
        )
    if y_test.max() > y.max():
        raise DataError(
            f"{y_name!r} of {path} should lie in 0..{y.max()}, the labels to learn from. "
            f"Found {y_test.max()}. Drop the classes that occur in the test set only."
        )
    return Table(x_test, y_test)
