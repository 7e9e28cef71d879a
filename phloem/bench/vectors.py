"""What codecs are measured on: updates from files, and two that anybody can make again.

gau1M   independent normal values: nothing to find, so the distance from theory can be told
lap1M   Laplace values whose scale differs from row to row, log-normally: what many layers look like
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib.npyio import NpzFile

from phloem.compression.update import Schema, Update, is_finite
from phloem.errors import DataError

SEED = 20
SIDE, QUICK_SIDE = 1024, 128


@dataclass(frozen=True)
class Vector:
    """An update and what it is called."""

    name: str
    update: Update

    @property
    def schema(self) -> Schema:
        """Its tensors."""
        return Schema.of(self.update)


def synthetic(seed: int = SEED, *, quick: bool = False) -> Iterator[Vector]:
    """Make the two synthetic vectors: a million values each, or 16 thousand where it has to be quick."""
    side, size = (QUICK_SIDE, "16k") if quick else (SIDE, "1M")
    rng = np.random.default_rng(seed)
    yield Vector(f"gau{size}", {"w": rng.standard_normal((side, side), np.float32)})
    scales = np.exp(rng.standard_normal((side, 1)))
    yield Vector(f"lap{size}", {"w": (rng.laplace(size=(side, side)) * scales).astype(np.float32)})


def load(path: Path) -> Vector:
    """Read an update from an `.npz` file: one float array a tensor, in the file's order.

    Raises:
        DataError: there is no such file, or something else is in it.
    """
    try:
        with path.open("rb") as stream:
            if not zipfile.is_zipfile(stream):  # NumPy would take it for a pickle, and say how to load that
                raise ValueError("another kind of file, or a damaged one")
            stream.seek(0)
            arrays = np.load(stream, allow_pickle=False)
            assert isinstance(arrays, NpzFile)
            found = {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"A vector should be an .npz file of float arrays. Found {path}: {error}.") from None
    wrong = [name for name, array in found.items() if array.dtype.kind != "f"]
    if wrong or not sum(array.size for array in found.values()):
        what = f"{found[wrong[0]].dtype} in {wrong[0]!r}" if wrong else "no values"
        raise DataError(f"A vector should be float arrays, one a tensor. Found {what}, in {path}.")
    with np.errstate(over="ignore"):  # the next lines see it
        update = {name: array.astype(np.float32) for name, array in found.items()}
    if not is_finite(update):
        raise DataError(f"A vector should be finite float32. Found NaN or infinity, in {path}.")
    return Vector(path.stem, update)
