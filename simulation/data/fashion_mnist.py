"""The data set `fashion_mnist`: 70 000 images of clothing, 28x28 bytes, ten classes (Xiao et al. 2017).

There is no drift in it, whatever drifts is made by a scenario, and there are no natural clients. Its own
10 000 test images are the test; validation is cut from the training images.
"""

from __future__ import annotations

from phloem.config import DataConfig
from phloem.errors import DataError
from phloem.simulation.data.npz import load_set
from phloem.simulation.data.table import Table, check_inputs, check_labels

CLASSES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")


def load_fashion_mnist(path: str, data: DataConfig, ids_name: str | None) -> Table:
    """Read the archive with `x_train`, `y_train`, `x_test`, `y_test`.

    Raises:
        DataError: the file is missing or another one, or natural clients are asked for.
    """
    arrays = load_set(path, "fashion_mnist", ("x_train", "y_train", "x_test", "y_test"))
    if ids_name is not None:
        raise DataError(
            "`data.partition` should deal fashion_mnist out, as it has no natural clients. Found 'natural'. "
            "Use 'dirichlet:0.3' or 'pathological:2'."
        )
    parts = []
    for part in ("train", "test"):
        x, y = arrays[f"x_{part}"], arrays[f"y_{part}"]
        check_inputs(x, f"x_{part} of {path}")
        parts.append((x, check_labels(y, len(x), f"y_{part} of {path}")))
    (x, y), (x_test, y_test) = parts
    return Table(x, y, test=Table(x_test, y_test), class_names=CLASSES)
