"""The source `digits`: scikit-learn's embedded 8x8 images of handwritten digits."""

from __future__ import annotations

import numpy as np

from phloem.simulation.data.table import Table


def load_digits() -> Table:
    """Return the 1797 images as float32 `(n, 1, 8, 8)` in 0..1, in scikit-learn's order."""
    from sklearn import datasets  # slow to import, and only this source needs it

    bunch = datasets.load_digits()
    return Table(
        x=(bunch.data / 16).astype(np.float32).reshape(-1, 1, 8, 8),
        y=bunch.target.astype(np.int64),
    )
