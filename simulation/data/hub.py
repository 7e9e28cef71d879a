"""The source `hf:NAME`: a data set of Hugging Face's hub, or a folder in that form, through their `datasets`.

Read are its parts `train` and, as the test, `test`. The label is the column that `data.label` names, or
`label`. The inputs are its one column of images or of lists of equal shape; if it has none, all its columns
of numbers, as of a CSV file. This is the one source that may ask the network, as whoever names it wants.

Not through `flwr-datasets`, which is a way to partition the same data sets: its version 0.6 needs `rich`
below 14, and Flower 1.41 needs 14 or more.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phloem.config import DataConfig
from phloem.errors import DataError, MissingExtra
from phloem.simulation.data.columns import Layout, layout_of, table_of
from phloem.simulation.data.table import Table, check_inputs, check_labels


def load_hub(name: str, data: DataConfig, ids_name: str | None) -> Table:
    """Read a data set by its name, or a local folder by its path.

    Raises:
        MissingExtra: `datasets` is not installed.
        DataError: there is no such data set, or it has no rows to learn from.
    """
    if not name:
        raise DataError("`data.source` should name a data set, as in 'hf:mnist'. Found no name. Add it.")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        import datasets
    except ImportError as error:
        raise MissingExtra(
            "The source 'hf:NAME' needs datasets. Found no such package. "
            "Install it: pip install 'phloem[data]'."
        ) from error
    try:
        parts = datasets.load_dataset(name)
    except Exception as error:  # whatever the hub, the network and a script of another's raise
        raise DataError(
            f"`data.source` should name a data set of Hugging Face's hub or a folder in that form. Found for "
            f"{name!r}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}. "
            "Check its name and the network."
        ) from error
    if "train" not in parts:
        raise DataError(
            f"{name!r} should have a part 'train'. Found {', '.join(map(str, parts))}. Use another."
        )
    train, layout = _table(parts["train"], data, ids_name, f"{name} (train)")
    if "test" not in parts:
        return train
    test, _ = _table(parts["test"], data, None, f"{name} (test)", layout)
    return replace(train, test=test)


def _table(
    part: Any, data: DataConfig, ids_name: str | None, where: str, layout: Layout | None = None
) -> tuple[Table, Layout | None]:
    """Return a part, and what its columns are for if it is a table of them; a test's are the training's."""
    label = data.label or "label"
    if label not in part.column_names:
        raise DataError(
            f"{where} should have the column {label!r}. Found {', '.join(part.column_names)}. "
            "Name the labels with `data.label`."
        )
    if ids_name is not None and ids_name not in part.column_names:
        raise DataError(
            f"{where} should have the column {ids_name!r} of the clients. Found "
            f"{', '.join(part.column_names)}. "
            "Name another with 'natural:COLUMN'."
        )
    kind = part.features[label]
    arrays = [name for name in part.column_names if _is_array(part, name)]
    if not arrays:
        frame = {name: np.array(part[name][:]) for name in part.column_names}
        named = data.model_copy(update={"label": label})
        layout = layout or layout_of(frame, named, ids_name, where)
        table = table_of(frame, named, ids_name, where, layout)
    else:
        x = _stacked(part[arrays[0]], f"{arrays[0]!r} of {where}")
        check_inputs(x, f"{arrays[0]!r} of {where}", finite=data.bad_rows == "refuse")
        y = check_labels(np.array(part[label][:]), len(x), f"{label!r} of {where}")
        ids: NDArray[Any] | None = None if ids_name is None else np.array(part[ids_name][:])
        table = Table(x, y, ids=ids)
    names = tuple(getattr(kind, "names", None) or ())
    return (replace(table, class_names=names, class_count=len(names)) if names else table), layout


def _stacked(values: Iterable[Any], where: str) -> NDArray[Any]:
    arrays = [np.asarray(value) for value in values]
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        raise DataError(
            f"{where} should have inputs of one shape. Found {', '.join(map(str, sorted(shapes)[:3]))}. "
            "Bring them to one size first, and name the result as 'npz:PATH'."
        )
    return np.stack(arrays)


def _is_array(part: Any, name: str) -> bool:
    value = part[0][name] if len(part) else None
    return isinstance(value, list) or hasattr(value, "getbands")  # an image of Pillow has bands
