"""What a federation has to be before a run starts on it, whoever wrote its source."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from phloem.errors import DataError
from phloem.federation import Federation, Samples


def checked(federation: object, source: str) -> Federation:
    """Return `federation` with its arrays read-only, or say what is wrong with it.

    Raises:
        DataError: something is, in one sentence.
    """
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
    if empty and not federation.feeds:
        raise DataError(
            f"Each share of {source!r} should hold 1 sample at least. Found none in {', '.join(empty[:5])}. "
            "Leave such clients out."
        )
    _check_truth(federation, source)
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


def _check_truth(federation: Federation, source: str) -> None:
    """Check what is given for each client, or for each of its samples, where it is given at all."""
    clients = len(federation.shares)
    for name in ("feeds", "concepts", "dropped", "client_names"):
        found = len(getattr(federation, name))
        if found not in (0, clients):
            raise DataError(
                f"`{name}` of {source!r} should have an entry for each of {clients} clients, or none. "
                f"Found {found}. Build one for each share."
            )
    for i, concepts in enumerate(federation.concepts):
        known = isinstance(concepts, np.ndarray) and concepts.shape == (len(federation.shares[i]),)
        if not known or (
            len(concepts) and not 0 <= concepts.min() <= concepts.max() < federation.concept_count
        ):
            raise DataError(
                f"concepts[{i}] of {source!r} should hold a number in 0..{federation.concept_count - 1} "
                "for each sample of the share. Found something else. Give a view for each concept."
            )
        concepts.flags.writeable = False
