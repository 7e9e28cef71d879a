"""One round of a client: (instruction, chain, state) -> (reply, frame, state), without side effects.

chain ─> base model ─> predict, score, learn on the next samples ─> delta + residual ─> codec ─> frame

Labels may come later than their samples: then what is learned, and watched for drift, are the samples whose
labels have just come.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from phloem.client.cap import fit
from phloem.client.memory import Lesson, Memory, notice, pace, past_of, remember, remembers
from phloem.client.peer import Peer
from phloem.client.plain import to_plain
from phloem.client.spread import followed, judged
from phloem.client.state import ClientState, Pending, settle
from phloem.client.stream import Stream
from phloem.client.synchronise import synchronise
from phloem.compression.codec import Codec, codec
from phloem.compression.ranking import MAGNITUDE
from phloem.compression.update import FLOAT_BYTES, Schema, Update, is_finite, norm, subtract
from phloem.config import ClientConfig
from phloem.learning import Model, Scores
from phloem.measures.histogram import count_scores, pack_counts
from phloem.protocol import Instruction, Reply
from phloem.seeds import derive
from phloem.sources import Samples


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
    reports_fidelity: bool = False
    inner_widths: tuple[float, ...] = ()
    """Shares of the network's channels that learn in turn with those the client has (`submodel.choice`)."""
    peer: Peer | None = None
    """Where logits travel: who speaks them. Then `learner` is this client's own network."""

    @property
    def schema(self) -> Schema:
        """The tensors that travel."""
        return self.learner.schema if self.peer is None else self.peer.schema


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
    schema = device.schema
    state = settle(state, instruction.acked_seq, schema)
    state = synchronise(state, instruction, chain, schema, device.steps, device.full, device.first)
    base = state.model
    assert base is not None
    decoded = time.perf_counter()

    seed = derive(instruction.seed, device.client, instruction.round)
    own = base
    if device.peer is not None:
        own = device.peer.heard(base, state.own, seed)
        device = replace(device, learner=device.peer.guided_by(base))
    stream, begun = device.stream, state.position
    asked = stream.arriving(instruction.round, device.config.samples_per_round)
    samples, position = stream.next(begun, asked)
    scores = device.learner.score(own, samples)
    reply = Reply(
        client=device.client,
        round=instruction.round,
        seq=state.seq,
        held=state.held,
        samples=len(samples),
        loss=scores.loss,
        correct=scores.correct,
        train_seconds=0.0,
        encode_seconds=0.0,
        decode_seconds=decoded - started,
        skipped=stream.skipped(begun, position),
        class_counts=b"",
    )
    reply = _in_detail(reply, device, samples, scores, state.memory)
    state = replace(state, position=position)
    if len(samples) == 0:
        return reply, b"", state

    if stream.delay:
        samples = stream.labelled(begun, position)
        if device.config.detector != "none" or scores.squares is not None:
            scores = device.learner.score(own, samples)
    lots = derive(instruction.seed, device.client, "lots")
    lesson = Lesson(samples, max(0, begun - stream.delay), lots)
    weights, memory, alarms = _learn(device, own, lesson, scores, state.memory, seed)
    said = weights
    if device.peer is not None:
        said, state = device.peer.says(weights, samples.y), replace(state, own=weights)
    delta, uplink = subtract(said, base), codec(instruction.codec)
    importance = None
    if uplink.ranked_by != MAGNITUDE and is_finite(delta) and len(samples):
        owed = uplink.corrected(delta, state.codec)
        importance = device.learner.importance(weights, samples, owed, uplink.ranked_by)
    trained = time.perf_counter()
    seq = state.seq + 1
    blob, codec_state = uplink.encode(
        delta, state.codec, seed=seed, base=state.held, seq=seq, importance=importance
    )
    fidelity = 1.0
    if device.reports_fidelity:
        fidelity = _fidelity(uplink.corrected(delta, state.codec), uplink.decode(blob, schema))
    reply = replace(
        reply,
        seq=seq,
        alarms=alarms,
        fidelity=fidelity,
        train_seconds=trained - decoded,
        encode_seconds=time.perf_counter() - trained,
    )
    flight = Pending(instruction.codec, seq, blob, reply)
    state = replace(state, seq=seq, codec=codec_state, pending=flight, memory=memory)
    if remembers(device.config):
        waiting = min(stream.delay, position) * FLOAT_BYTES * math.prod(samples.x.shape[1:])
        state = fit(state, device.config, lots, waiting)
        reply = replace(reply, memory_bytes=to_plain(state).size_bytes + waiting)
        state = replace(state, pending=replace(flight, reply=reply))
    return reply, blob, state


def _learn(
    device: Device, base: Update, lesson: Lesson, scores: Scores, memory: Memory, seed: int
) -> tuple[Update, Memory, int]:
    """Return the weights after the lesson, what is remembered, and how many alarms the scores raised."""
    config, samples = device.config, lesson.samples
    memory, alarms = notice(memory, scores, lesson.start + len(samples), config)
    learned = np.flatnonzero(samples.y == 0) if config.normal_only else np.arange(len(samples))
    if scores.squares is not None:
        memory = replace(memory, spread=followed(memory.spread, scores.squares[learned]))
    if config.normal_only:
        samples = samples.take(learned)
        lesson = replace(lesson, samples=samples)
    weights = device.learner.learn(base, samples, pace(memory, config), seed, past_of(memory))
    if remembers(config):
        memory = remember(memory, lesson, device.learner, weights, config)
    return weights, memory, alarms


def _fidelity(owed: Update, delivered: Update) -> float:
    """Return the share of `owed`'s energy that arrives; 1 where nothing was owed."""
    energy = norm(owed) ** 2
    return min(max(1.0 - norm(subtract(owed, delivered)) ** 2 / energy, 0.0), 1.0) if energy > 0 else 1.0


def _in_detail(reply: Reply, device: Device, samples: Samples, scores: Scores, memory: Memory) -> Reply:
    """Return the reply with what takes more than a number to say, where somebody asked for it."""

    def counts(classes: NDArray[np.int64]) -> bytes:
        return np.bincount(classes, minlength=device.learner.classes).astype("<u4").tobytes()

    predicted = scores.predicted if device.config.report_predictions else None
    found = b""
    if scores.squares is not None:
        found = pack_counts(count_scores(judged(scores.squares, memory.spread), samples.y != 0))
    return replace(
        reply,
        class_counts=counts(samples.y) if device.reports_classes or predicted is not None else b"",
        predicted_counts=b"" if predicted is None else counts(predicted),
        score_histogram=found,
    )
