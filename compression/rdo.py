"""`rdo`: the whole update coded with one quantization step, each tensor in the mode that pays.

The step follows from what was asked for: bytes of the frame, bits per parameter, or a squared error. One
adaptive stream runs through all tensors, so that small tensors profit from large ones; it is cut where a
tensor's values end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from phloem.compression.attempts import (
    END_BITS,
    END_MARK,
    NOTHING,
    SPARE_BYTES,
    Attempts,
    cut,
)
from phloem.compression.entropy import Decoder, Values
from phloem.compression.modes import decode_tensor, matrix_shape
from phloem.compression.rate import LEAST_CODE, MOST_CODE, STEP_BITS, step_of
from phloem.compression.stage import StageBytes, Warm
from phloem.compression.targets import SizeTarget
from phloem.compression.text import ByteCount, render
from phloem.compression.update import FLOAT_BYTES, Schema, TensorSpec, Update, is_finite
from phloem.compression.wire import varint_bytes
from phloem.errors import CodecError, ConfigError, CorruptUpdate

Payload = bytes
"""Within `Rdo`, `bytes` is the name of a target."""

FRAME_BYTES = 2 + 9 + 2 + 5
"""Of a frame: format, schema, the codec's tag and length, checksum."""

VERSION_BYTES = 8
"""Of a frame: base and sequence number, while both are under two million."""

RISKY = 1e37
"""Updates that are longer may be decoded to something infinite."""

LEAST_BYTES = 64
"""No smaller budget is left to weights beside statistics."""


@dataclass(frozen=True)
class Rdo:
    """Rate-distortion-optimised coding to one target, of which exactly one is given.

    `bpp` is bits of payload per parameter and `bytes` the size of the whole frame: neither is exceeded.
    `nmse` is the squared error over the update's own square.
    """

    name: ClassVar[str] = "rdo"
    wire: ClassVar[str] = "rdo"
    """How frames name it: the target is the encoder's alone."""

    bpp: float | None = field(default=None, kw_only=True)
    bytes: ByteCount | None = field(default=None, kw_only=True)
    nmse: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        given = {key: value for key in ("bpp", "bytes", "nmse") if (value := getattr(self, key)) is not None}
        if len(given) != 1:
            raise CodecError(
                f"`rdo` should get one of `bpp`, `bytes` and `nmse`. Found {list(given) or 'none'}. "
                "Write `rdo:bpp=0.1`, for example."
            )
        key, value = given.popitem()
        if not 0 < value < math.inf or (key == "nmse" and value >= 1):
            within = "between 0 and 1" if key == "nmse" else "positive"
            raise CodecError(f"`{key}` of `rdo` should be {within}. Found {value}.")

    def encode(self, update: Update, schema: Schema, warm: Warm, seed: int) -> tuple[list[Payload], Warm]:
        """The payloads, and the step and right factors to begin with next time.

        Raises:
            ConfigError: the target cannot be met: too few bytes for any frame, or dense ones for the error;
                or the values are at the end of float32's range.
        """
        attempts = Attempts(update, schema, warm, seed)
        made = attempts.search(self._target(schema), self.nmse)
        if made is None:
            raise ConfigError(self._missed(schema))
        if attempts.length > RISKY:
            self._check_back(made.payloads, schema, attempts.length)
        return made.payloads, attempts.warm(made)

    def beside(self, sizes: Sequence[int]) -> Rdo:
        """The same, when payloads of these sizes come into the frame beside its own.

        Raises:
            ConfigError: they leave no room.
        """
        if self.bytes is None:
            return self
        taken = sum(1 + varint_bytes(size) + size for size in sizes)
        left = self.bytes - taken
        if left < LEAST_BYTES:
            raise ConfigError(
                f"`bytes` of `rdo` should be {taken + LEAST_BYTES} or more: running statistics travel "
                f"exactly, and take {taken}. Found {self.bytes}."
            )
        return replace(self, bytes=ByteCount(left))

    def _check_back(self, payloads: Sequence[Payload], schema: Schema, length: float) -> None:
        """See that a receiver can decode: beside the largest numbers, rounding errors may be infinite."""
        with np.errstate(all="ignore"):
            if not is_finite(self.decode(payloads, schema)):
                raise ConfigError(
                    f"`rdo` should get updates that are shorter than {RISKY:.0e}. Found a length of "
                    f"{length:g}. Look for what diverged."
                )

    def _target(self, schema: Schema) -> SizeTarget | None:
        """What sizes count towards the target, if it is one of size."""
        if self.bpp is not None:
            return SizeTarget(max(self.bpp * schema.parameters / 8, len(NOTHING)), 0, False)
        if self.bytes is not None:
            return SizeTarget(self.bytes, FRAME_BYTES + VERSION_BYTES + len(self.wire), True)
        return None

    def _missed(self, schema: Schema) -> str:
        if self.nmse is None:
            least = FRAME_BYTES + VERSION_BYTES + len(self.wire) + 2 * len(schema.tensors)
            return f"`bytes` of `rdo` should be {least} or more for this model. Found {self.bytes}."
        return (
            f"`nmse` of `rdo` should be within reach of {schema.dense_bytes} bytes. Found {self.nmse}. "
            "Use `dense`."
        )

    def decode(self, payloads: Sequence[Payload], schema: Schema) -> Update:
        """Invert `encode`, from integers on elementwise."""
        stream = b"".join(payloads)
        shapes = [spec.shape for spec in schema.tensors]
        if list(payloads) == cut(NOTHING, [1] * len(shapes)):
            return {spec.name: np.zeros(spec.shape, np.float32) for spec in schema.tensors}
        decoder = Decoder(stream)
        code = decoder.number(-1, STEP_BITS)
        if not LEAST_CODE <= code <= MOST_CODE:
            raise CorruptUpdate(
                f"The step should be a normal float32 up to 2**127. Found the pattern {code:#07x}."
            )
        step = step_of(code)
        tensors: list[Values] = []
        cuts: list[int] = []
        for shape in shapes:
            if math.prod(shape):
                tensors.append(decode_tensor(decoder, matrix_shape(shape), step).reshape(shape))
            else:
                tensors.append(np.zeros(shape, np.float32))
            cuts.append(decoder.shifts)
        if decoder.number(-1, END_BITS) != END_MARK:
            raise CorruptUpdate("The stream should have its mark after the last tensor. Found other bits.")
        decoder.finish()
        if cut(stream, cuts) != list(payloads):
            raise CorruptUpdate("The payloads should be cut where the tensors end; they are not.")
        return {spec.name: tensor for spec, tensor in zip(schema.tensors, tensors, strict=True)}

    def decode_traced(
        self, payloads: Sequence[Payload], schema: Schema
    ) -> tuple[Update, tuple[StageBytes, ...]]:
        """Decode, and tell the payloads' size."""
        total = sum(len(payload) for payload in payloads)
        return self.decode(payloads, schema), (StageBytes(self.wire, total),)

    def max_payload_bytes(self, tensor: TensorSpec) -> int:
        """A little over the dense size: a larger encoding is refused when it is made."""
        return FLOAT_BYTES * tensor.size + SPARE_BYTES

    def __str__(self) -> str:
        """The canonical text."""
        return render(self)
