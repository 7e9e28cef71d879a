"""How phloem's inner loops are compiled.

`kernel` compiles once and keeps the machine code on disk. No fast mathematics: in a decoder every float
operation is the IEEE one, in the order written, so decoding is bit-equal on every machine. `_nrt=False`
leaves out numba's reference counting, which costs an atomic operation for every array a small function is
handed and makes a binary coder four times slower; in return a kernel may not allocate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np

wide = cast("Callable[[Any], int]", np.int64)
"""Widen a number: kernels count in int64, where every product of theirs has room."""

at = cast("Callable[[Any], int]", np.uint64)
"""An index that is known not to be negative, which spares numba the check."""

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile a loop of a decoder, or of both sides."""
    return _compile(function, fastmath=False)


def encoder_kernel(function: F) -> F:
    """Compile a loop of which only this machine sees the result: sums may be regrouped and fused."""
    return _compile(function, fastmath=True)


def _compile(function: F, fastmath: bool) -> F:
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": fastmath, "_nrt": False}
    try:
        return cast(F, numba.njit(cache=True, **options)(function))
    except RuntimeError:  # no writable folder for the cache: compile anew in every process
        return cast(F, numba.njit(**options)(function))
