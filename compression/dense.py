"""Plain float32: what every other codec is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from phloem.compression.signal import Array, Spec, Values
from phloem.compression.stage import Seed


@dataclass(frozen=True, slots=True)
class Dense:
    """Leaves values as they are; exact.

    >>> from phloem.compression.codec import codec
    >>> str(codec("dense"))
    'dense'
    """

    name: ClassVar[str] = "dense"

    def plan(self, spec: Spec) -> tuple[Spec, ...] | None:
        """Values stay values."""
        return (spec,) if isinstance(spec, Values) else None

    def encode(
        self, array: Array, spec: Spec, warm: Array | None, seed: Seed
    ) -> tuple[list[Array], Array | None]:
        """Hand on."""
        return [array], None

    def encode_many(self, arrays: Array, spec: Spec, seeds: Sequence[Seed]) -> list[Array]:
        """Hand on."""
        return [arrays]

    def decode_many(self, arrays: Sequence[Array], spec: Spec) -> Array:
        """Hand back."""
        return arrays[0]

    def decode(self, arrays: Sequence[Array], spec: Spec) -> Array:
        """Hand back."""
        return arrays[0]
