"""Updates and their schema: named float32 tensors, and the algebra on them.

An update is a model's weights or the difference of two. The receiver's `Schema`,
never the wire, says which tensors there are and how large they may be.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from phloem.errors import ConfigError

Update = Mapping[str, NDArray[np.float32]]

FLOAT_BYTES = 4


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """The name and shape of one float32 tensor."""

    name: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of elements; 1 for a scalar."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Schema:
    """The ordered tensors of an update; the order is the order on the wire."""

    tensors: tuple[TensorSpec, ...]

    @classmethod
    def of(cls, update: Update) -> Schema:
        """Read the schema off an update, in the mapping's own order.

        Raises:
            ConfigError: a tensor is not a float32 NumPy array.
        """
        for name, tensor in update.items():
            if not isinstance(tensor, np.ndarray) or tensor.dtype != np.float32:
                found = getattr(tensor, "dtype", type(tensor).__name__)
                raise ConfigError(
                    f"An update should hold float32 NumPy arrays. Found {found} in {name!r}. "
                    "Convert it with .astype('float32')."
                )
        return cls(tuple(TensorSpec(name, tensor.shape) for name, tensor in update.items()))

    @cached_property
    def fingerprint(self) -> bytes:
        """8 bytes that differ when a name, a shape or the order differs (SHA-256, cut)."""
        text = "\n".join(f"{t.name!r} float32 {t.shape}" for t in self.tensors)
        return hashlib.sha256(text.encode()).digest()[:8]

    @cached_property
    def parameters(self) -> int:
        """Number of elements over all tensors."""
        return sum(t.size for t in self.tensors)

    @property
    def dense_bytes(self) -> int:
        """Size of the update as plain float32, in bytes."""
        return FLOAT_BYTES * self.parameters

    def check(self, update: Update) -> None:
        """Raise ConfigError unless `update` has exactly these tensors, in any order."""
        found = {name: tensor.shape for name, tensor in update.items()}
        expected = {t.name: t.shape for t in self.tensors}
        if found != expected:
            raise ConfigError(f"The update should have the tensors {expected}. Found {found}.")


def zeros(schema: Schema) -> dict[str, NDArray[np.float32]]:
    """Return the update that changes nothing."""
    return {t.name: np.zeros(t.shape, np.float32) for t in schema.tensors}


def add(left: Update, right: Update) -> dict[str, NDArray[np.float32]]:
    """Return `left + right`, elementwise in float32: bit-equal on every machine."""
    return {name: np.asarray(tensor + right[name]) for name, tensor in left.items()}


def subtract(left: Update, right: Update) -> dict[str, NDArray[np.float32]]:
    """Return `left - right`, elementwise in float32: bit-equal on every machine."""
    return {name: np.asarray(tensor - right[name]) for name, tensor in left.items()}


def norm(update: Update) -> float:
    """Return the l2 norm over all tensors, summed in float64."""
    squares = (np.square(t, dtype=np.float64).sum() for t in update.values())
    return math.sqrt(sum(float(s) for s in squares))


def nmse(original: Update, decoded: Update) -> float:
    """Return |original - decoded|^2 / |original|^2; 0 where both are zero."""
    error, power = norm(subtract(original, decoded)) ** 2, norm(original) ** 2
    if power == 0.0:
        return 0.0 if error == 0.0 else math.inf
    return error / power


def is_finite(update: Update) -> bool:
    """Tell whether no tensor holds NaN or infinity."""
    return all(bool(np.isfinite(t).all()) for t in update.values())


def digest(update: Update) -> str:
    """Return the SHA-256 of names, shapes and little-endian bytes, sorted by name."""
    sha = hashlib.sha256()
    for name in sorted(update):
        tensor = np.ascontiguousarray(update[name], dtype="<f4")
        sha.update(f"{name!r} {tensor.shape}\n".encode())
        sha.update(tensor.tobytes())
    return sha.hexdigest()
