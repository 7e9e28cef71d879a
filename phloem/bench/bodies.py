"""Peers' own wire formats as codecs, so that a federation can be trained with them, in this process alone.

They are no part of phloem: `peers_as_codecs` lends them names such as `openfl-stc:0.1`, and takes them back.
What they decode was made in the same process, so they check nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

from phloem.bench import peers
from phloem.bench.contenders import Coder
from phloem.compression import registry
from phloem.compression.codec import codec
from phloem.compression.stage import StageBytes, Warm
from phloem.compression.text import render
from phloem.compression.update import Schema, TensorSpec, Update

MOST_OVERHEAD = 4096
"""Codebooks and lengths of a tensor."""


@dataclass(frozen=True)
class Lent(ABC):
    """A body that leaves every tensor to a peer's coder."""

    name: ClassVar[str]

    @property
    @abstractmethod
    def coder(self) -> Coder:
        """Encodes one tensor."""

    def encode(self, update: Update, schema: Schema, warm: Warm, seed: int) -> tuple[list[bytes], Warm]:
        """One payload a tensor."""
        return [self.coder.encode({tensor.name: update[tensor.name]}) for tensor in schema.tensors], {}

    def decode(self, payloads: Sequence[bytes], schema: Schema) -> Update:
        """Invert `encode`."""
        update: dict[str, peers.Floats] = {}
        for tensor, payload in zip(schema.tensors, payloads, strict=True):
            update |= self.coder.decode(payload, Schema((tensor,)))
        return update

    def decode_traced(
        self, payloads: Sequence[bytes], schema: Schema
    ) -> tuple[Update, tuple[StageBytes, ...]]:
        """Decode, and tell the payloads' size."""
        return self.decode(payloads, schema), (StageBytes(str(self), sum(map(len, payloads))),)

    def max_payload_bytes(self, tensor: TensorSpec) -> int:
        """Dense, and a little."""
        return 5 * tensor.size + MOST_OVERHEAD

    def __str__(self) -> str:
        """The canonical text."""
        return render(self)


@dataclass(frozen=True)
class Stc(Lent):
    """OpenFL's STC."""

    name: ClassVar[str] = "openfl-stc"
    fraction: float

    @property
    def coder(self) -> Coder:
        """As shipped."""
        return peers.OpenFlStc(self.fraction)


@dataclass(frozen=True)
class Kc(Lent):
    """OpenFL's KC."""

    name: ClassVar[str] = "openfl-kc"
    clusters: int

    @property
    def coder(self) -> Coder:
        """As shipped."""
        return peers.OpenFlKc(self.clusters)


@dataclass(frozen=True)
class Blockwise8(Lent):
    """NVFlare's blockwise 8 bits."""

    name: ClassVar[str] = "nvflare-blockwise8"

    @property
    def coder(self) -> Coder:
        """In blocks of 4096, as bitsandbytes does."""
        return peers.BLOCKWISE_8


@dataclass(frozen=True)
class NormFloat4(Lent):
    """NVFlare's 4 bits for normal values."""

    name: ClassVar[str] = "nvflare-normfloat4"

    @property
    def coder(self) -> Coder:
        """In blocks of 64, as QLoRA does."""
        return peers.NORMFLOAT_4


LENT: tuple[type[Lent], ...] = (Stc, Kc, Blockwise8, NormFloat4)


@contextmanager
def peers_as_codecs() -> Iterator[None]:
    """Let codecs' texts name peers' wire formats meanwhile."""
    registry.BODIES.update({kind.name: kind for kind in LENT})
    try:
        yield
    finally:
        for kind in LENT:
            del registry.BODIES[kind.name]
        codec.cache_clear()
