"""The data set `watch_har`: seven shoulder exercises of eight people by a smartwatch (Burns et al. 2018).

An input is 2 s of three axes of acceleration and three of rotation at 50 Hz, `(1, 100, 6)`. Windows overlap
by half, so the test is of unseen subjects, and nothing else is cut through a recording either. Channels get
mean 0 and deviation 1 over the subjects that are learned from. Natural clients: `subject`, or `side`, which
are 16, a subject's left and right. One recording is one exercise: streams have long runs of one class.
"""

from __future__ import annotations

import numpy as np

from phloem.config import DataConfig
from phloem.simulation.data.loaders import natural_ids
from phloem.simulation.data.npz import load_set
from phloem.simulation.data.table import Table, check_inputs, check_labels


def load_watch_har(path: str, data: DataConfig, ids_name: str | None) -> Table:
    """Read the archive with `X` (n, 100, 6), `y`, `subject`, `side`, `recording` and `class_names`.

    Raises:
        DataError: the file is missing or another one.
    """
    wanted = ("X", "y", "subject", "side", "recording", "class_names")
    arrays = load_set(path, "watch_har", wanted)
    x, subject = arrays["X"], arrays["subject"].astype(np.int64)
    check_inputs(x, f"X of {path}")
    sides = np.array([f"{who}-{side}" for who, side in zip(subject, arrays["side"], strict=True)])
    ids = {"subject": subject, "side": sides}
    return Table(
        x,
        check_labels(arrays["y"], len(x), f"y of {path}"),
        people=subject,
        ids=ids[natural_ids("watch_har", ids_name, {"subject": None, "side": None})],
        groups=arrays["recording"].astype(np.int64),
        hold_out="clients",
        standard=True,
        inputs="series",
        class_names=tuple(map(str, arrays["class_names"])),
    )
