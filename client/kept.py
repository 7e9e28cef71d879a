"""How the inputs of remembered samples are kept: as they are, or in a half or a quarter of the bytes."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from phloem.errors import ConfigError

Kind = Literal["float32", "float16", "pixels", "symbols"]

LARGEST_FLOAT16 = 65504.0

_WANTED = {"float16": "within 65504", "pixels": "in 0..1", "symbols": "whole numbers in 0..65535"}


def keep_inputs(x: NDArray[np.float32], kind: Kind) -> NDArray[np.generic]:
    """Return inputs as the kind keeps them.

    `float32` and `symbols` are exact; `pixels` takes the nearest of k/255, which is exact where an 8-bit
    image was divided by 255, and else off by 1/510 at most.

    Raises:
        ConfigError: an input is out of the kind's range.
    """
    lowest, highest = float(x.min(initial=0)), float(x.max(initial=0))
    if kind == "float32":
        return x.copy()
    if kind == "float16" and max(-lowest, highest) <= LARGEST_FLOAT16:
        return x.astype(np.float16)
    if kind == "pixels" and lowest >= 0 and highest <= 1:
        return np.asarray(np.rint(x * np.float32(255)).astype(np.uint8))
    if kind == "symbols" and lowest >= 0 and highest < 2**16 and (x == np.rint(x)).all():
        return x.astype(np.uint16)
    raise ConfigError(
        f"Inputs kept as `client.replay_inputs = {kind!r}` should be {_WANTED[kind]}. "
        f"Found {lowest:g}..{highest:g}. Use 'float32'."
    )


def restore_inputs(kept: NDArray[np.generic]) -> NDArray[np.float32]:
    """Return inputs as a network takes them; the type says how they were kept."""
    x: NDArray[np.float32] = kept.astype(np.float32)
    return x / np.float32(255) if kept.dtype == np.uint8 else x
