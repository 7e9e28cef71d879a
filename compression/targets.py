"""What a search for a step aims at, and what it finds on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from phloem.compression.trials import Choice
from phloem.compression.wire import varint_bytes


@dataclass(frozen=True, slots=True)
class SizeTarget:
    """At most so many bytes, counting `overhead` once and, if `framed`, what a frame adds to each payload."""

    most: float
    overhead: int
    framed: bool

    def size(self, payloads: Sequence[bytes]) -> int:
        """The size of an update that counts towards the target."""
        lengths = [len(payload) for payload in payloads]
        added = sum(1 + varint_bytes(length) for length in lengths) if self.framed else 0
        return self.overhead + added + sum(lengths)


@dataclass(frozen=True, slots=True)
class Made:
    """An encoded update, its squared error over its square, and how its tensors were coded."""

    code: int
    payloads: list[bytes]
    nmse: float
    choices: tuple[Choice, ...]


@dataclass(frozen=True, slots=True)
class Survey:
    """What an update would take at a code, about, in bytes and error, and how its tensors should be coded."""

    code: int
    size: float
    nmse: float
    choices: tuple[Choice, ...]
