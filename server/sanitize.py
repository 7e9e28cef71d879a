"""What a reply must be before it may touch the global model.

A reply comes from a device the server does not control. Each check here has one short code, under
which the ledger counts its rejections; the round goes on without the reply.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from phloem.compression.codec import Codec, StageBytes
from phloem.compression.frame import peek
from phloem.compression.update import Schema, Update
from phloem.errors import CorruptUpdate, ProtocolError, RejectedUpdate
from phloem.protocol import Reply
from phloem.server.streams import LARGEST, check_told

TEXT_MOST = 300
"""How many letters of a client's the ledger and a terminal take."""


@dataclass(frozen=True)
class Expected:
    """What the server knows about a reply before it reads it."""

    client: str
    round: int
    version: int
    acked_seq: int


@dataclass(frozen=True)
class Limits:
    """What a reply may ask for at most."""

    max_samples: int
    max_change: float
    classes: int


@dataclass(frozen=True)
class Sane:
    """A reply that passed every check, decoded."""

    reply: Reply
    update: Update
    stages: tuple[StageBytes, ...]

    @property
    def class_counts(self) -> np.ndarray:
        """Labels the client saw this round, one count a class; empty if it was not asked."""
        return np.frombuffer(self.reply.class_counts, "<u4").astype(np.int64)


def brief(text: object) -> str:
    """Return what a client wrote in one short line, with nothing in it that acts on a terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in str(text)[:TEXT_MOST])


def read_reply(values: Mapping[str, object], expected: Expected, limits: Limits) -> Reply:
    """Check the scalars of a reply.

    Raises:
        RejectedUpdate: `protocol`, `identity`, `stale` or `weight`.
    """
    try:
        reply = Reply.from_mapping(values)
    except ProtocolError as error:
        raise RejectedUpdate("protocol", brief(error)) from None
    if reply.client != expected.client:
        raise RejectedUpdate(
            "identity",
            f"The node of client {expected.client!r} should speak for it. Found {reply.client!r:.80}.",
        )
    if (reply.round, reply.held) != (expected.round, expected.version) or (
        reply.samples != 0 and not expected.acked_seq < reply.seq <= LARGEST
    ):
        raise RejectedUpdate(
            "stale",
            f"Expected round {expected.round}, version {expected.version} and a sequence number above "
            f"{expected.acked_seq}. Found round {reply.round}, version {reply.held}, number {reply.seq}.",
        )
    if not 0 <= reply.samples <= limits.max_samples or not 0 <= reply.correct <= reply.samples:
        raise RejectedUpdate(
            "weight",
            f"Samples should be in 0..{limits.max_samples} and correct in 0..samples. "
            f"Found {reply.samples} and {reply.correct}.",
        )
    counts = np.frombuffer(reply.class_counts, "<u4") if len(reply.class_counts) % 4 == 0 else None
    if (
        counts is None
        or len(counts) not in (0, limits.classes)
        or int(counts.sum(dtype=np.uint64)) > reply.samples
    ):
        raise RejectedUpdate(
            "weight", f"Class counts should be {limits.classes} numbers that sum to {reply.samples} at most."
        )
    check_told(reply, limits.classes, limits.max_samples)
    return reply


def read_update(reply: Reply, blob: bytes, codec: Codec, schema: Schema, limits: Limits) -> Sane:
    """Decode and check the frame beside a reply.

    Raises:
        RejectedUpdate: `corrupt`, `stale` or `change`.
    """
    try:
        update, stages = codec.decode_traced(blob, schema)
    except CorruptUpdate as error:
        raise RejectedUpdate("corrupt", str(error)) from None
    header = peek(blob)
    if (header.base, header.seq) != (reply.held, reply.seq):
        raise RejectedUpdate(
            "stale",
            f"The frame should be number {reply.seq} on version {reply.held}. "
            f"Found number {header.seq} on version {header.base}.",
        )
    largest = max((float(np.abs(t).max(initial=0.0)) for t in update.values()), default=0.0)
    if not largest <= limits.max_change:
        raise RejectedUpdate(
            "change", f"No weight should move by more than {limits.max_change:g}. Found {largest:g}."
        )
    return Sane(reply, update, stages)
