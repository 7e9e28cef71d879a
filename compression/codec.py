"""A codec: an update to bytes and back, with what it leaves out remembered.

>>> import numpy as np
>>> from phloem.compression.update import Schema
>>> update = {"w": np.random.default_rng(0).standard_normal((320, 784), np.float32)}
>>> sparse = codec("ef | topk:0.01 | linear:4")
>>> blob, state = sparse.encode(update)
>>> back = sparse.decode(blob, Schema.of(update))
>>> len(blob) < update["w"].nbytes / 200
True
>>> np.allclose(update["w"], back["w"] + state.residual["w"])
True
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache

import numpy as np

from phloem.compression import batch, frame, registry, statistics
from phloem.compression.chain import Chain
from phloem.compression.feedback import ErrorFeedback, Feedback, difference
from phloem.compression.ranking import MAGNITUDE
from phloem.compression.signal import Array
from phloem.compression.stage import Body
from phloem.compression.stage import StageBytes as StageBytes  # callers name what `decode_traced` gives
from phloem.compression.text import render
from phloem.compression.update import Schema, Update
from phloem.errors import CodecError, ConfigError, CorruptUpdate


@dataclass(frozen=True)
class CodecState:
    """What a codec keeps from one update of a sender to the next: what was lost, and where to start from."""

    residual: Update | None = None
    warm: Mapping[str, Array] = field(default_factory=dict)


EMPTY = CodecState()


@dataclass(frozen=True)
class Codec:
    """A body, and error feedback around it or not; equal codecs give equal bytes.

    `codec` makes one from text, and `str` gives the text back.
    """

    body: Body
    feedback: Feedback | None = None

    def encode(
        self,
        update: Update,
        state: CodecState | None = None,
        *,
        seed: int = 0,
        base: int = 0,
        seq: int = 0,
        importance: Update | None = None,
    ) -> tuple[bytes, CodecState]:
        """Encode to one frame; the same arguments give the same bytes.

        `base` is the version that the update is relative to, `seq` the sender's number for it. `importance`,
        of the update's own shapes, ranks values where `ranked_by` is not "magnitude": it should be that of
        what `corrected` gives, which is what is encoded.

        Raises:
            ConfigError: the update is not finite float32, or not what the state or the codec can take; or
                the seed is negative.
        """
        _check_seed(seed)
        state = EMPTY if state is None else state
        schema = Schema.of(update)
        corrected = self.corrected(update, state)
        _check_finite(corrected, ConfigError, "Training may have diverged: lower the learning rate.")
        body = self.body
        if importance is not None and isinstance(body, Chain):
            body = replace(body, importance=importance)
        payloads, warm = statistics.encode(body, corrected, schema, state.warm, seed)
        blob = frame.pack(frame.Frame(schema.fingerprint, self.wire_text, base, seq, tuple(payloads)))
        residual = None
        if self.feedback is not None:
            with np.errstate(all="ignore"):
                decoded, _ = statistics.decode_traced(self.body, payloads, schema)
                residual = self.feedback.remainder(update, corrected, decoded)
                warm = {**warm, **self.feedback.remember(update, decoded, state.warm)}
            _check_finite(residual, ConfigError, "The values are too large for this codec.")
        return blob, CodecState(residual, warm)

    def corrected(self, update: Update, state: CodecState) -> Update:
        """Return what is encoded in place of `update`: with what is still owed.

        Raises:
            ConfigError: the residual is of another schema.
        """
        if self.feedback is None:
            return update
        if state.residual is not None:
            Schema.of(update).check(state.residual)
        with np.errstate(over="ignore"):  # `encode` refuses it, and names the tensor
            return self.feedback.correct(update, state.residual, state.warm)

    @property
    def ranked_by(self) -> str:
        """What values are ranked by that may be left out: all but "magnitude" is the caller's to measure."""
        return self.body.ranked_by if isinstance(self.body, Chain) else MAGNITUDE

    def encode_many(
        self,
        updates: batch.Updates,
        states: Sequence[CodecState | None],
        seeds: Sequence[int],
        *,
        base: int = 0,
        seqs: Sequence[int] | None = None,
    ) -> list[tuple[bytes, CodecState]]:
        """Encode the updates of many senders, which lie along each tensor's first axis.

        The same bytes and states as from `encode` for each; dense, fp16, bf16, linear and topk, with `ef` or
        without, take all senders at once, the rest are encoded one by one. The states share their memory.

        Raises:
            ConfigError: as `encode` does; or there are not as many updates, states and seeds.
        """
        seqs = [0] * len(seeds) if seqs is None else seqs
        counts = {len(states), len(seeds), len(seqs), *(len(tensor) for tensor in updates.values())}
        if len(counts) > 1:
            raise ConfigError(
                f"There should be one update, state, seed and number for each sender. Found {sorted(counts)}."
            )
        each = range(len(seeds))
        if not seeds or not self._at_once:
            alone = [{name: np.asarray(tensor[k]) for name, tensor in updates.items()} for k in each]
            return [self.encode(alone[k], states[k], seed=seeds[k], base=base, seq=seqs[k]) for k in each]
        for seed in seeds:
            _check_seed(seed)
        schema = Schema.of({name: np.asarray(tensor[0]) for name, tensor in updates.items()})
        corrected = self._correct_many(updates, [state or EMPTY for state in states], schema)
        _check_finite(corrected, ConfigError, "Training may have diverged: lower the learning rate.")
        coded = batch.encode(self.body, corrected, schema, seeds)
        residuals: list[Update | None] = [None] * len(seeds)
        if self.feedback is not None:
            with np.errstate(all="ignore"):
                left = difference(corrected, coded.decoded)
            _check_finite(left, ConfigError, "The values are too large for this codec.")
            residuals = [{name: np.asarray(tensor[k]) for name, tensor in left.items()} for k in each]
        frames = [
            frame.Frame(schema.fingerprint, self.wire_text, base, seqs[k], tuple(coded.payloads[k]))
            for k in each
        ]
        return [(frame.pack(frames[k]), CodecState(residuals[k], {})) for k in each]

    @cached_property
    def _at_once(self) -> bool:
        """Whether many updates can be encoded together."""
        plain = self.feedback is None or (
            isinstance(self.feedback, ErrorFeedback) and self.feedback.norm is None
        )
        return plain and batch.batchable(self.body)

    def _correct_many(
        self, updates: batch.Updates, states: Sequence[CodecState], schema: Schema
    ) -> batch.Updates:
        """`Feedback.correct` for those senders that have a residual."""
        residuals = {k: state.residual for k, state in enumerate(states) if state.residual is not None}
        if self.feedback is None or not residuals:
            return updates
        for residual in residuals.values():
            schema.check(residual)
        rows = list(residuals)
        owed = batch.stack(list(residuals.values()))
        with np.errstate(over="ignore"):
            some = self.feedback.correct({name: updates[name][rows] for name in updates}, owed, {})
        if len(rows) == len(states):
            return some
        corrected = {name: tensor.copy() for name, tensor in updates.items()}
        for name, tensor in some.items():
            corrected[name][rows] = tensor
        return corrected

    def decode(self, blob: bytes, schema: Schema) -> Update:
        """Decode one frame; the same bytes give the same bits on every machine.

        Raises:
            CorruptUpdate: not a finite update of this schema and codec. Nothing else is raised.
        """
        return self.decode_traced(blob, schema)[0]

    def decode_traced(self, blob: bytes, schema: Schema) -> tuple[Update, tuple[StageBytes, ...]]:
        """Decode, and tell the update's size as float32, after each stage, and in its frame."""
        limits = [statistics.max_payload_bytes(self.body, tensor) for tensor in schema.tensors]
        blob = blob if isinstance(blob, bytes) else bytes(memoryview(blob))  # a socket's or a file's buffer
        payloads = frame.unpack(blob, schema, self.wire_text, limits).payloads
        with np.errstate(all="ignore"):  # hostile numbers may overflow; the next line sees it
            update, stages = statistics.decode_traced(self.body, payloads, schema)
        _check_finite(update, CorruptUpdate, "Drop it.")
        first, last = StageBytes("dense", schema.dense_bytes), StageBytes("frame", len(blob))
        return update, (first, *stages, last)

    @cached_property
    def wire_text(self) -> str:
        """How frames name this codec: what a decoder needs to know; the receiver has the same, or refuses."""
        return frame.wire_text(getattr(self.body, "wire", str(self.body)))

    def __str__(self) -> str:
        """The canonical text: `codec(str(self)) == self`."""
        return str(self.body) if self.feedback is None else f"{render(self.feedback)} | {self.body}"


@lru_cache(maxsize=256)
def codec(text: str) -> Codec:
    """Make a codec from its text, such as `ef | topk:0.01 | linear:4 | zstd`.

    Raises:
        CodecError: no text, an unknown name, a wrong argument, or parts that do not work in this order.
    """
    if not isinstance(text, str):
        raise CodecError(f"A codec should be a text such as 'topk:0.01'. Found {text!r}.")
    feedback, body = registry.parse(text)
    return Codec(body, feedback)


def _check_seed(seed: int) -> None:
    if seed < 0:
        raise ConfigError(f"`seed` should be 0 or more. Found {seed}.")


def _check_finite(update: Update, error: type[ConfigError | CorruptUpdate], remedy: str) -> None:
    for name, tensor in update.items():
        if not np.isfinite(tensor).all():
            raise error(f"An update should be finite. Found NaN or infinity in {name!r}. {remedy}")
