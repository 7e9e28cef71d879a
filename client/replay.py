"""A buffer of earlier samples: a uniform draw from all that came, which may shrink at any time.

J. S. Vitter, "Random sampling with a reservoir", 1985, in the form of a bottom-k sample (E. Cohen, H. Kaplan,
2007): a sample's lot is a hash of its place in the stream, and the lowest lots stay. So nothing random has to
be kept, the same stream leaves the same buffer, and a smaller buffer is a part of the larger one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from phloem.client.kept import Kind, keep_inputs, restore_inputs
from phloem.errors import ConfigError
from phloem.sources import Samples

EVERY_LOT = 2**32
"""The ceiling that lets every sample in."""

MOST_CLASSES = 2**16


@dataclass(frozen=True, eq=False)
class Buffer:
    """Samples in order of arrival, in as few bytes as the settings allow."""

    x: NDArray[np.generic]
    """As `keep_inputs` leaves them, `(n, ...)`."""
    y: NDArray[np.uint16]
    place: NDArray[np.uint32]
    """Where each was in the client's stream, modulo 2^32."""
    logits: NDArray[np.float16] | None = None
    """What the model said when it had just learned them, `(n, classes)`."""
    ceiling: int = EVERY_LOT
    """Only lots below it are let in; it falls with every sample that is thrown out."""

    def __len__(self) -> int:
        return len(self.y)

    @property
    def item_bytes(self) -> int:
        """How many bytes a sample takes."""
        parts = (self.x, self.y, self.place, *(() if self.logits is None else (self.logits,)))
        return sum(part.itemsize * int(np.prod(part.shape[1:], dtype=np.int64)) for part in parts)

    def take(self, where: NDArray[np.bool_]) -> Buffer:
        """Return the buffer with only those samples, and the same ceiling."""
        logits = None if self.logits is None else self.logits[where]
        return replace(self, x=self.x[where], y=self.y[where], place=self.place[where], logits=logits)


def buffer_of(samples: Samples, start: int, kind: Kind, logits: NDArray[np.float32] | None = None) -> Buffer:
    """Return samples as a buffer holds them; the first stood at `start` in the stream.

    Raises:
        ConfigError: the inputs are not of the kind, or there are too many classes.
    """
    if len(samples) and samples.y.max() >= MOST_CLASSES:
        raise ConfigError(
            f"Replay should have {MOST_CLASSES} classes at most. Found the label {samples.y.max()}. "
            "Use `client.replay = 'none'`."
        )
    places = (np.arange(start, start + len(samples)) % EVERY_LOT).astype(np.uint32)
    with np.errstate(over="ignore"):  # a logit beyond float16's range is held at its border
        limit = np.float32(np.finfo(np.float16).max)
        kept = None if logits is None else np.clip(logits, -limit, limit).astype(np.float16)
    return Buffer(keep_inputs(samples.x, kind), samples.y.astype(np.uint16), places, kept)


def recalled(buffer: Buffer) -> tuple[Samples, NDArray[np.float32] | None]:
    """Return the samples as a learner takes them, and their logits."""
    logits = None if buffer.logits is None else buffer.logits.astype(np.float32)
    return Samples(restore_inputs(buffer.x), buffer.y.astype(np.int64)), logits


def admit(buffer: Buffer | None, new: Buffer, seed: int) -> Buffer:
    """Return the buffer with those of the new samples whose lots are low enough; shrink it afterwards.

    Raises:
        ConfigError: the two hold samples of different kinds.
    """
    if buffer is None:
        return new
    if (new.x.dtype, new.x.shape[1:]) != (buffer.x.dtype, buffer.x.shape[1:]) or (
        (new.logits is None) != (buffer.logits is None)
    ):
        raise ConfigError(
            f"A replay buffer should hold inputs {buffer.x.dtype} {buffer.x.shape[1:]}, as before. Found "
            f"{new.x.dtype} {new.x.shape[1:]}. Start the clients afresh after a change of their settings."
        )
    low = new.take(lots(new.place, seed) < buffer.ceiling)
    logits = None
    if buffer.logits is not None and low.logits is not None:
        logits = np.concatenate([buffer.logits, low.logits])
    return Buffer(
        np.concatenate([buffer.x, low.x]),
        np.concatenate([buffer.y, low.y]),
        np.concatenate([buffer.place, low.place]),
        logits,
        buffer.ceiling,
    )


def shrink(buffer: Buffer, capacity: int, seed: int) -> Buffer:
    """Return the buffer with at most `capacity` samples: those with the lowest lots, still in order."""
    if len(buffer) <= capacity:
        return buffer
    drawn = lots(buffer.place, seed)
    ranked = np.argsort(drawn, kind="stable")
    ceiling = int(drawn[ranked[capacity]])
    stays = np.zeros(len(buffer), np.bool_)
    stays[ranked[:capacity]] = True
    return replace(buffer.take(stays), ceiling=ceiling)


def forget_before(buffer: Buffer, place: int) -> Buffer:
    """Return what came at `place` or later, and let every later sample in again."""
    ago = (np.uint32(place % EVERY_LOT) - buffer.place).astype(np.int32)  # over the edge of 2^32, too
    return replace(buffer.take(ago <= 0), ceiling=EVERY_LOT)


def lots(places: NDArray[np.uint32], seed: int) -> NDArray[np.uint32]:
    """Return a number for each place, as good as drawn from 0..2^32 - 1 (the finalizer of SplitMix64)."""
    z = places.astype(np.uint64) + np.uint64(seed % 2**64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(32)).astype(np.uint32)
