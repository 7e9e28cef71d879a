"""The door to the data of a run.

`open_federation` looks the source up by name, imports the implementation when it is used, and
checks what comes back, whoever wrote it.
"""

from __future__ import annotations

from functools import lru_cache
from traceback import extract_tb

from phloem.config import DataConfig
from phloem.errors import ConfigError, DataError, PhloemError
from phloem.federation import Drift, Federation, Feed, Samples
from phloem.plausible import checked
from phloem.references import load_reference

__all__ = ["BUILT_IN", "Drift", "Federation", "Feed", "Samples", "open_federation"]

FEDERATE = "phloem.simulation.data.federate:federate"
SENSORS = "phloem.simulation.data.sensors:federate_sensors"
TABLES = (
    *("csv", "parquet", "hf", "fashion_mnist", "elec2", "wisdm_ar", "kdd99", "tinyshakespeare"),
    *("fsdd_logmel", "watch_har"),
)
BUILT_IN = {"digits": FEDERATE, "npz": FEDERATE} | dict.fromkeys(TABLES, FEDERATE) | {"stream": SENSORS}


@lru_cache(maxsize=4)
def open_federation(data: DataConfig, seed: int) -> Federation:
    """Return the federation that `data` describes: the same for the same seed, everywhere.

    `data.source` is one of the built-in ones, or the user's own `module:function`, which is
    called with `(data, seed)` and returns a `Federation`. Cached within a process, as a
    ClientApp asks for it with every message.

    Raises:
        ConfigError: there is no such source.
        DataError: its data are missing, malformed, not finite or too small, or the user's function raised.
    """
    name, colon, _ = data.source.partition(":")
    if name not in BUILT_IN and not colon:
        known = ", ".join(f"'{known}:…'" for known in BUILT_IN if known != "digits")
        raise ConfigError(
            f"`data.source` should be 'digits', {known} or your own 'module:function'. "
            f"Found {data.source!r}. Check the spelling."
        )
    federate = load_reference(BUILT_IN.get(name, data.source))
    try:
        federation = federate(data, seed)
    except PhloemError:
        raise
    except Exception as error:
        if name in BUILT_IN:
            raise  # a fault of ours: its traceback is wanted
        raise DataError(
            f"`data.source`, {data.source!r}, should return a Federation. Found that it raised "
            f"{raised(error)}. Correct it there."
        ) from error
    return checked(federation, data.source)


def raised(error: Exception) -> str:
    """Return what the user's code raised, and where."""
    where = extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({where.filename}, line {where.lineno})"
