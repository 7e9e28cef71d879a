"""The round protocol: what server and client say to each other, as values.

    server ── Hello ──────────────────────────> client      once, before the first round
           <────────────────────── Greeting ──
    server ── Instruction + chain of frames ──> client      every round
           <───────────────── Reply + frame ──

Every message is a flat mapping of scalars (Flower's ConfigRecord) beside at most one blob.
`acked_seq` tells a client which of its updates the server has applied for good: up to it, what
compression lost is the client's residual; past it, the whole update was lost and returns to the
residual. So the sum of what was applied and of what is still held stays the sum of what was learned.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self, get_type_hints

from phloem.compression.codec import codec
from phloem.compression.update import Update, digest
from phloem.errors import ConfigError, CorruptUpdate, ProtocolError

VERSION = 1
"""Version of these messages; client and server must agree on it."""

MESSAGE = "phloem"
"""Name of the record that holds the fields of a message; the blob is a record of its own."""

FULL = codec("dense | zstd")
"""How a model is sent in full, bit for bit, to a client that comes too late for the first version."""

_ERRORS = (CorruptUpdate, ProtocolError, ConfigError)

HASH_BYTES = 16

NO_VERSION = -1
"""The version held by a client that has no model yet."""

FIRST_VERSION = 0
"""The untrained model, which a client makes itself from the run's seed; a hash proves that it is the same."""

LONGEST_CHAIN = 64
"""How many frames a client follows at most: one, and one for each reply lost before it."""


@dataclass(frozen=True, slots=True)
class Fields:
    """A message that is a flat mapping of scalars, read back strictly."""

    RARE: ClassVar[frozenset[str]] = frozenset()
    """Fields that are left out where they are empty, as they are for most clients."""

    def to_mapping(self) -> dict[str, Any]:
        """Return the fields by name."""
        found = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {name: value for name, value in found.items() if value or name not in self.RARE}

    @classmethod
    def from_mapping(cls, values: Mapping[str, object]) -> Self:
        """Read the fields back.

        Raises:
            ProtocolError: a field is missing, unknown, of another type, or not finite.
        """
        kinds, left_out = get_type_hints(cls), cls.RARE - set(values)
        hints = {f.name: kinds[f.name] for f in dataclasses.fields(cls) if f.name not in left_out}
        if set(values) != set(hints):
            raise ProtocolError(f"{cls.__name__} should have {sorted(hints)}. Found {sorted(values)}.")
        for name, kind in hints.items():
            value = values[name]
            if type(value) is not kind:
                raise ProtocolError(
                    f"{cls.__name__}.{name} should be {kind.__name__}. Found {type(value).__name__}."
                )
            if isinstance(value, float) and not math.isfinite(value):
                raise ProtocolError(f"{cls.__name__}.{name} should be finite. Found {value}.")
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Hello(Fields):
    """The server's first word: which protocol and which model it is about to use."""

    protocol: int
    schema: bytes
    """Fingerprint of the model's schema, 8 bytes."""


@dataclass(frozen=True, slots=True)
class Greeting(Fields):
    """A client's answer to Hello."""

    client: str
    """Stable name: the partition id, or the device's own name."""
    first_hash: bytes
    """Hash of the first version as this client makes it; one that differs is sent the model in full."""


@dataclass(frozen=True, slots=True)
class Instruction(Fields):
    """What a client is to do in a round; the blob beside it leads to `version`."""

    RARE: ClassVar[frozenset[str]] = frozenset({"mask"})

    round: int
    version: int
    model_hash: bytes
    """First 16 bytes of the SHA-256 of the model at `version`, checked after decoding."""
    acked_seq: int
    codec: str
    seed: int
    mask: bytes = b""
    """Which part of the network the client has, the same in every round (`phloem.masks`); empty for all."""


@dataclass(frozen=True, slots=True)
class Reply(Fields):
    """What a client did; the frame beside it is its update, relative to `held`."""

    client: str
    round: int
    seq: int
    held: int
    samples: int
    """Samples learned from; 0 if the stream had none."""
    loss: float
    """Mean loss on the new samples before learning from them."""
    correct: int
    """How many of them were predicted right before learning from them."""
    class_counts: bytes
    """Labels seen this round, one little-endian uint32 a class; empty unless distillation asks."""
    train_seconds: float
    encode_seconds: float
    decode_seconds: float
    predicted_counts: bytes = b""
    """How often each class was predicted, as `class_counts`; empty unless the server asks for it."""
    score_histogram: bytes = b""
    """Anomaly scores of the normal and of the anomalous samples, in bins; empty for other models."""
    alarms: int = 0
    """How many times the client's drift detector fired on these samples."""
    skipped: int = 0
    """Rows of the stream that were passed over, being unusable."""
    memory_bytes: int = 0
    """What the client keeps for learning: replay, residual, optimizer."""
    fidelity: float = 1.0
    """Which share, by energy, of what the client owed is in its frame; 1 unless the server asks for it."""


def model_hash(model: Update) -> bytes:
    """Return what `Instruction.model_hash` should be for `model`."""
    return bytes.fromhex(digest(model))[:HASH_BYTES]


def error_code(error: Exception) -> int:
    """Return the code of Flower's Error message for `error`; above the codes Flower itself uses."""
    return 1000 + next((i for i, kind in enumerate(_ERRORS) if isinstance(error, kind)), len(_ERRORS))


def client_order(client: str) -> tuple[int, str]:
    """Return the sort key in which every sum over clients runs: partition ids count upward."""
    return len(client), client


@dataclass(frozen=True, slots=True)
class Delivery(Fields):
    """What the drop-in grid adds to an app's own message: how to get the arrays that are not in it.

    With a blob beside it, the arrays are the model at `version`, led to by that chain; without one they
    are in the message, and are that model.
    """

    version: int
    model_hash: bytes
    acked_seq: int
    steps: str
    """Codec of the chain's steps; `FULL` is that of a model in full."""


@dataclass(frozen=True, slots=True)
class Receipt(Fields):
    """What the drop-in mod adds to an app's own reply; with a blob beside it, that is the arrays' delta."""

    held: int
    seq: int
    codec: str
