"""The data of a run: clients' streams, and what the server holds back.

`open_federation` is the one door: it looks the source up by name, imports the
implementation when it is used, and checks what comes back, whoever wrote it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from phloem.config import DataConfig
from phloem.errors import ConfigError, DataError
from phloem.references import load_reference

BUILT_IN = {
    "digits": "phloem.simulation.data.federate:federate",
    "npz": "phloem.simulation.data.federate:federate",
}


@dataclass(frozen=True, eq=False, slots=True)
class Samples:
    """Labelled samples in a fixed order: `x` float32 `(n, ...)`, `y` int64 `(n,)`.

    Those of a federation are read-only, as every client and the server share them:
    take a copy (`torch.tensor`, `np.array`) before changing one.
    """

    x: NDArray[np.float32]
    y: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.y)

    def take(self, where: slice | NDArray[np.intp]) -> Samples:
        """Return the samples at a slice (a view) or at an array of indices (a copy)."""
        return Samples(self.x[where], self.y[where])


@dataclass(frozen=True, eq=False)
class Federation:
    """The data as a run sees it; the parts are disjoint.

    `shares[i]` is what client `i` receives, in order of arrival. `test` and
    `validation` are labelled and may be empty; `proxy` holds inputs `(n, ...)`
    for distillation, and no labels, as a server would not have them.
    """

    shares: tuple[Samples, ...]
    test: Samples
    validation: Samples
    proxy: NDArray[np.float32]
    classes: int
    input_shape: tuple[int, ...]


@lru_cache(maxsize=4)
def open_federation(data: DataConfig, seed: int) -> Federation:
    """Return the federation that `data` describes: the same for the same seed, everywhere.

    `data.source` is `digits`, `npz:PATH`, or the user's own `module:function`, which is
    called with `(data, seed)` and returns a `Federation`. Cached within a process, as a
    ClientApp asks for it with every message.

    Raises:
        ConfigError: there is no such source.
        DataError: its data are missing, malformed, not finite or too small.
    """
    name, colon, _ = data.source.partition(":")
    if name not in BUILT_IN and not colon:
        raise ConfigError(
            f"`data.source` should be 'digits', 'npz:PATH' or your own 'module:function'. "
            f"Found {data.source!r}. Check the spelling."
        )
    federation = load_reference(BUILT_IN.get(name, data.source))(data, seed)
    return checked(federation, data.source)


def checked(federation: object, source: str) -> Federation:
    """Return `federation` with its arrays read-only, or say what is wrong with it."""
    if not isinstance(federation, Federation):
        raise DataError(
            f"The source {source!r} should return a phloem.sources.Federation. "
            f"Found {type(federation).__name__}. Build one of its shares, test, validation and proxy."
        )
    if federation.classes < 2 or not federation.shares:
        raise DataError(
            f"The source {source!r} should have 2 classes and 1 client at least. "
            f"Found {federation.classes} and {len(federation.shares)}. Use other data."
        )
    shares = {f"shares[{i}]": share for i, share in enumerate(federation.shares)}
    for part, samples in {**shares, "test": federation.test, "validation": federation.validation}.items():
        if not isinstance(samples, Samples):
            raise DataError(
                f"{part} of {source!r} should be phloem.sources.Samples. Found {type(samples).__name__}. "
                "Wrap the arrays as Samples(x, y)."
            )
        _check_inputs(samples.x, federation, f"{part}.x of {source!r}")
        _check_labels(samples, federation, f"{part}.y of {source!r}")
    _check_inputs(federation.proxy, federation, f"proxy of {source!r}")
    empty = [part for part, share in shares.items() if not len(share)]
    if empty:
        raise DataError(
            f"Each share of {source!r} should hold 1 sample at least. Found none in {', '.join(empty[:5])}. "
            "Leave such clients out."
        )
    return federation


def _check_inputs(x: NDArray[np.float32], federation: Federation, where: str) -> None:
    fits = isinstance(x, np.ndarray) and x.ndim > 1 and x.shape[1:] == federation.input_shape
    if not fits or x.dtype != np.float32:
        found = f"{x.dtype} {x.shape}" if isinstance(x, np.ndarray) else type(x).__name__
        raise DataError(
            f"{where} should be a float32 array (n, {', '.join(map(str, federation.input_shape))}). "
            f"Found {found}. Convert it with .astype('float32') and .reshape."
        )
    if not np.isfinite(x).all():
        raise DataError(f"{where} should be finite. Found NaN or infinity. Drop or impute such samples.")
    x.flags.writeable = False


def _check_labels(samples: Samples, federation: Federation, where: str) -> None:
    y = samples.y
    if not isinstance(y, np.ndarray) or y.dtype != np.int64 or y.shape != (len(samples.x),):
        found = f"{y.dtype} {y.shape}" if isinstance(y, np.ndarray) else type(y).__name__
        raise DataError(
            f"{where} should be an int64 array of shape ({len(samples.x)},), a label for each sample. "
            f"Found {found}. Convert it with .astype('int64')."
        )
    if len(y) and not 0 <= int(y.min()) <= int(y.max()) < federation.classes:
        raise DataError(
            f"{where} should lie in 0..{federation.classes - 1}. Found {y.min()}..{y.max()}. "
            "Number the classes from 0 and set `classes` to their count."
        )
    y.flags.writeable = False
