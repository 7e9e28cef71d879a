"""The global model on disk: safetensors, replaced in one step so that a reader never sees half a file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from phloem.compression.update import Update


def save_model(path: Path, model: Update, facts: Mapping[str, str]) -> None:
    """Write `model` to `path` (write, fsync, rename); `facts` become the file's metadata."""
    data = save({name: np.ascontiguousarray(tensor) for name, tensor in model.items()}, dict(facts))
    part = path.with_suffix(".part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
