"""Is `rdo` ever worse than another codec? It is asked for exactly the bytes that the other one took.

Lossless codecs are not among the rivals: `rdo` has no lossless mode, and says so when it is asked for it.
"""

from __future__ import annotations

from dataclasses import dataclass

from phloem.bench.vectors import Vector
from phloem.compression.codec import codec
from phloem.compression.update import nmse
from phloem.errors import ConfigError

RDO = "rdo"


@dataclass(frozen=True, slots=True)
class Duel:
    """A rival's message and what `rdo` made of as many bytes; `rdo_nmse` is 1 where it has no such frame."""

    vector: str
    rival: str
    bytes: int
    nmse: float
    rdo_bytes: int
    rdo_nmse: float

    @property
    def lost(self) -> bool:
        """Whether the rival errs less."""
        return self.rdo_nmse > self.nmse

    @property
    def margin(self) -> float:
        """The rival's error over that of `rdo`: above 1 where `rdo` is better."""
        return self.nmse / self.rdo_nmse if self.rdo_nmse else float("inf")


def fight(vector: Vector, rival: str, size: int, error: float) -> Duel | None:
    """Compare with a rival that took `size` bytes for `error`; None where there is nothing to compare."""
    if error == 0 or rival.startswith(RDO):
        return None
    try:
        blob, _ = codec(f"{RDO}:bytes={size}").encode(vector.update)
    except ConfigError:  # too few bytes for a frame of its own: nothing arrives
        return Duel(vector.name, rival, size, error, 0, 1.0)
    made = codec(f"{RDO}:bytes={size}").decode(blob, vector.schema)
    return Duel(vector.name, rival, size, error, len(blob), nmse(vector.update, made))
