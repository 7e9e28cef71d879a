"""The data set `wisdm_ar`: what 36 people did, by the accelerometers of their phones (Kwapisz et al. 2011).

43 figures of ten seconds each. Natural clients: `user`, whose rows do not all stand together. The test is of
unseen users, as only that says something about new devices; `data.hold_out=clients:29-36` names them. Some
peaks were not found: those 615 NaN get the mean over the users that are learned from, and all columns, of
which the scales differ a thousandfold, mean 0 and deviation 1 over the same rows.
"""

from __future__ import annotations

import numpy as np

from phloem.config import DataConfig
from phloem.simulation.data.loaders import natural_ids
from phloem.simulation.data.npz import load_set
from phloem.simulation.data.table import Table, check_inputs, check_labels


def load_wisdm_ar(path: str, data: DataConfig, ids_name: str | None) -> Table:
    """Read the archive with `X` (n, 43), `y`, `user` and `class_names`.

    Raises:
        DataError: the file is missing or another one.
    """
    arrays = load_set(path, "wisdm_ar", ("X", "y", "user", "class_names"))
    natural_ids("wisdm_ar", ids_name, {"user": None})
    x = arrays["X"]
    check_inputs(x, f"X of {path}", finite=False)
    return Table(
        x,
        check_labels(arrays["y"], len(x), f"y of {path}"),
        ids=arrays["user"].astype(np.int64),
        hold_out="clients",
        standard=True,
        impute=True,
        class_names=tuple(map(str, arrays["class_names"])),
    )
