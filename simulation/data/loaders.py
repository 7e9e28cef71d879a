"""Every source that is a table, by the name before its colon."""

from __future__ import annotations

from phloem.config import DataConfig
from phloem.errors import DataError
from phloem.references import load_reference
from phloem.simulation.data.digits import load_digits
from phloem.simulation.data.npz import load_npz
from phloem.simulation.data.table import Table

HERE = "phloem.simulation.data"
LOADERS = {
    "csv": f"{HERE}.files:load_csv",
    "parquet": f"{HERE}.files:load_parquet",
    "hf": f"{HERE}.hub:load_hub",
    "fashion_mnist": f"{HERE}.fashion_mnist:load_fashion_mnist",
    "elec2": f"{HERE}.elec2:load_elec2",
    "wisdm_ar": f"{HERE}.wisdm_ar:load_wisdm_ar",
    "kdd99": f"{HERE}.kdd99:load_kdd99",
    "tinyshakespeare": f"{HERE}.tinyshakespeare:load_tinyshakespeare",
    "fsdd_logmel": f"{HERE}.fsdd_logmel:load_fsdd_logmel",
    "watch_har": f"{HERE}.watch_har:load_watch_har",
}
"""Each is called with `(path, data, ids_name)`; `ids_name` is the array that a natural partition asks for."""


def load(data: DataConfig, ids_name: str | None) -> Table:
    """Read the rows of `data.source`.

    Raises:
        DataError: there is no such source, or see its loader.
    """
    name, _, path = data.source.partition(":")
    if name in LOADERS:
        table: Table = load_reference(LOADERS[name])(path, data, ids_name)
        return table
    if name == "npz":
        return load_npz(path, ids_name, label=data.label, strict=data.bad_rows == "refuse")
    if data.source != "digits":
        raise DataError(
            f"`data.source` should be 'digits' or 'npz:PATH'. Found {data.source!r}. Use one of them."
        )
    return load_digits()


def natural_ids(name: str, ids_name: str | None, known: dict[str, object]) -> str:
    """Return which ids of a known data set are meant: the first ones, or those that are named.

    Raises:
        DataError: it has no ids of that name.
    """
    if ids_name is None or ids_name == "client":
        return next(iter(known))
    if ids_name not in known:
        raise DataError(
            f"The clients of {name} should be by {' or '.join(map(repr, known))}. Found {ids_name!r}. "
            f"Use 'natural' for {next(iter(known))!r}."
        )
    return ids_name
