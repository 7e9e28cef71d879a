"""The source `digits`: scikit-learn's embedded 8x8 images of handwritten digits."""

from __future__ import annotations

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from phloem.errors import DataError
from phloem.simulation.data.table import Table


def load_digits() -> Table:
    """Return the 1797 images as float32 `(n, 1, 8, 8)` in 0..1, in scikit-learn's order.

    Raises:
        DataError: scikit-learn is not installed whole.
    """
    # Its file without its code: importing that costs a device 150 MB, for pandas comes with it.
    package = find_spec("sklearn")
    places = (package and package.submodule_search_locations) or []
    files = [Path(place) / "datasets" / "data" / "digits.csv.gz" for place in places]
    file = next((file for file in files if file.exists()), None)
    if file is None:
        raise DataError("The source 'digits' needs scikit-learn. Found no digits of it: install it again.")
    with gzip.open(file, "rt") as text:
        rows = np.loadtxt(text, delimiter=",")
    return Table(
        x=(rows[:, :-1] / 16).astype(np.float32).reshape(-1, 1, 8, 8),
        y=rows[:, -1].astype(np.int64),
    )
