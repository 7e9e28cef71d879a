"""One round of a client: (instruction, chain, state) -> (reply, frame, state), without side effects.

chain ─> base model ─> predict, score, learn on the next samples ─> delta + residual ─> codec ─> frame
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from phloem.client.state import ClientState, Pending, settle
from phloem.client.stream import Stream
from phloem.client.synchronise import synchronise
from phloem.compression.codec import Codec, codec
from phloem.compression.ranking import MAGNITUDE
from phloem.compression.update import Update, is_finite, subtract
from phloem.config import ClientConfig
from phloem.learning import Model
from phloem.protocol import Instruction, Reply
from phloem.seeds import derive


@dataclass(frozen=True)
class Device:
    """What does not change over a client's life: its name, data, model, settings, and what it may be sent."""

    client: str
    stream: Stream
    learner: Model
    config: ClientConfig
    steps: Codec
    full: Codec
    first: Callable[[], Update]
    """Makes the first version."""
    reports_classes: bool = False


def train_round(
    device: Device, instruction: Instruction, chain: bytes, state: ClientState
) -> tuple[Reply, bytes, ClientState]:
    """Bring the model up to date, learn from the next samples, and encode what was learned.

    The same instruction a second time gives the same bytes again, without training. A stream that has
    nothing new gives a reply with no samples and an empty frame.

    Raises:
        CorruptUpdate: the chain does not decode.
        ProtocolError: the chain does not lead from the held version to the instructed one.
        ConfigError: training diverged; what it learned is not finite.
    """
    again = state.pending
    if again is not None and again.answers(instruction):
        assert again.reply is not None
        return again.reply, again.blob, state

    started = time.perf_counter()
    schema = device.learner.schema
    state = settle(state, instruction.acked_seq, schema)
    state = synchronise(state, instruction, chain, schema, device.steps, device.full, device.first)
    base = state.model
    assert base is not None
    decoded = time.perf_counter()

    seed = derive(instruction.seed, device.client, instruction.round)
    samples, position = device.stream.next(state.position, device.config.samples_per_round)
    scores = device.learner.score(base, samples)
    counts = np.bincount(samples.y, minlength=device.learner.classes)
    reply = Reply(
        client=device.client,
        round=instruction.round,
        seq=state.seq,
        held=state.held,
        samples=len(samples),
        loss=scores.loss,
        correct=scores.correct,
        class_counts=counts.astype("<u4").tobytes() if device.reports_classes else b"",
        train_seconds=0.0,
        encode_seconds=0.0,
        decode_seconds=decoded - started,
    )
    if len(samples) == 0:
        return reply, b"", state

    weights = device.learner.learn(base, samples, device.config, seed=seed)
    delta, uplink = subtract(weights, base), codec(instruction.codec)
    importance = None
    if uplink.ranked_by != MAGNITUDE and is_finite(delta):
        owed = uplink.corrected(delta, state.codec)
        importance = device.learner.importance(weights, samples, owed, uplink.ranked_by)
    trained = time.perf_counter()
    seq = state.seq + 1
    blob, codec_state = uplink.encode(
        delta, state.codec, seed=seed, base=state.held, seq=seq, importance=importance
    )
    reply = replace(
        reply, seq=seq, train_seconds=trained - decoded, encode_seconds=time.perf_counter() - trained
    )
    flight = Pending(instruction.codec, seq, blob, reply)
    return reply, blob, replace(state, position=position, seq=seq, codec=codec_state, pending=flight)
