"""The data set `fsdd_logmel`: digits spoken by five people, as log-mel spectra (Jackson et al. 2018).

The mean level differs by speaker, so each clip gets mean 0 and deviation 1 of its own. Takes 0 to 4 are the
official test; with `data.hold_out=clients:ID` it is a speaker who was never heard. Natural clients:
`speaker`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from phloem.config import DataConfig
from phloem.errors import DataError
from phloem.simulation.data.loaders import natural_ids
from phloem.simulation.data.npz import load_set
from phloem.simulation.data.table import Table, check_inputs, check_labels

TEST_TAKES = 5


def load_fsdd_logmel(path: str, data: DataConfig, ids_name: str | None) -> Table:
    """Read the archive with `x` (n, frames, bands), `y`, `speaker`, `index` and `speaker_names`.

    Raises:
        DataError: the file is missing or another one.
    """
    arrays = load_set(path, "fsdd_logmel", ("x", "y", "speaker", "index", "speaker_names"))
    natural_ids("fsdd_logmel", ids_name, {"speaker": None})
    x = arrays["x"]
    check_inputs(x, f"x of {path}")
    if x.ndim != 3:
        raise DataError(f"{path} should hold clips (n, frames, bands). Found {x.shape}. Name another file.")
    names = arrays["speaker_names"][arrays["speaker"]]
    table = Table(per_clip(x), check_labels(arrays["y"], len(x), f"y of {path}"), ids=names, inputs="series")
    if data.hold_out != "auto":
        return table
    is_test = arrays["index"] < TEST_TAKES
    test, train = table.take(np.flatnonzero(is_test)), table.take(np.flatnonzero(~is_test))
    return Table(train.x, train.y, ids=train.ids, test=test, inputs="series")


def per_clip(x: NDArray[np.float16]) -> NDArray[np.float32]:
    """Return the clips with mean 0 and deviation 1 each; sums in float32, as float16 has three digits."""
    clips: NDArray[np.float32] = x.astype(np.float32)
    clips -= clips.mean(axis=(1, 2), keepdims=True)
    clips /= np.maximum(clips.std(axis=(1, 2), keepdims=True), np.float32(1e-6))
    return clips
