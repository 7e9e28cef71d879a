"""`dither`: few values travel, drawn so that what arrives is right on average.

D. Alistarh et al., "QSGD: Communication-efficient SGD via gradient quantization and encoding", and J. Wangni
et al., "Gradient sparsification for communication-efficient distributed optimization", NeurIPS 2017, 2018.
Here the step is one for the whole update, which gives the least error for as many values, and the coder is
that of `rdo`, of which these are frames.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from phloem.compression.attempts import END_BITS, END_MARK, NOTHING, SPARE_BYTES, cut
from phloem.compression.entropy import Encoder, Scale, Values
from phloem.compression.fraction import check
from phloem.compression.modes import MODE_BITS, MODE_MODELS, Mode, as_matrix
from phloem.compression.planes import VALUES, encode_plane
from phloem.compression.rate import MOST_CODE, STEP_BITS, code_of, step_of
from phloem.compression.rdo import Rdo
from phloem.compression.signal import Array
from phloem.compression.stage import StageBytes, Warm
from phloem.compression.text import render
from phloem.compression.update import FLOAT_BYTES, Schema, TensorSpec, Update
from phloem.errors import ConfigError

MOST_ROUNDS, NEARLY = 30, 0.999
LARGEST = 3e38
MOST_LEVEL = 1 << 22
"""Larger multiples of a step are more than float32 tells apart."""

ANY = Rdo(bpp=1.0)
"""It decodes what was made for any target: frames do not tell."""


@dataclass(frozen=True)
class Dither:
    """A multiple of one step in place of every value, the one below or above, drawn: unbiased, without state.

    The step is such that about a `fraction` of all values is expected to become other than zero. The error
    of one update is large, often larger than the update, and independent of other senders': it averages
    out over them, where what `ef` keeps back comes late. Leave `ef` out: these errors would add up.

    >>> from phloem.compression.codec import codec
    >>> str(codec("dither:0.005"))
    'dither:0.005'
    """

    name: ClassVar[str] = "dither"
    wire: ClassVar[str] = Rdo.wire
    fraction: float

    def __post_init__(self) -> None:
        check(self.name, self.fraction)

    def encode(self, update: Update, schema: Schema, warm: Warm, seed: int) -> tuple[list[bytes], Warm]:
        """Draw, and write what was drawn.

        Raises:
            ConfigError: float32 has no room for the multiple above the largest value.
        """
        matrices = [as_matrix(update[spec.name]) for spec in schema.tensors if spec.size]
        code = self._code(np.concatenate([np.abs(matrix).ravel() for matrix in matrices] or [np.zeros(0)]))
        self._check_room(matrices, step_of(code))
        drawn = [_drawn(matrix, step_of(code), (seed, place)) for place, matrix in enumerate(matrices)]
        if not any(matrix.any() for matrix in drawn):
            return cut(NOTHING, [1] * len(schema.tensors)), {}
        encoder = Encoder(sum(map(self.max_payload_bytes, schema.tensors)))
        encoder.number(-1, STEP_BITS, code)
        rest = iter(drawn)
        cuts: list[int] = []
        for spec in schema.tensors:
            if spec.size:
                _write(next(rest), encoder)
            cuts.append(encoder.shifts)
        encoder.number(-1, END_BITS, END_MARK)
        return cut(encoder.finish(), cuts), {}

    def _check_room(self, matrices: Sequence[Values], step: float) -> None:
        largest = max((float(np.abs(matrix).max()) for matrix in matrices), default=0.0)
        if not largest + step < LARGEST:
            raise ConfigError(
                f"`dither` carries magnitudes that with a step more stay below {LARGEST:.0e}. "
                f"Found {largest:g} and steps of {step:g}. Look for what diverged."
            )

    def _code(self, sizes: Array) -> int:
        """The code of the step at which as many values as wanted are expected to be other than zero."""
        wanted = self.fraction * sizes.size
        step = float(sizes.sum(dtype=np.float64)) / max(wanted, 1e-9)
        for _ in range(MOST_ROUNDS):  # those above the step are sure to travel; the others share what is left
            sure = sizes > np.float64(step)  # which may be beyond float32
            left = wanted - np.count_nonzero(sure)
            before, step = step, float(sizes[~sure].sum(dtype=np.float64)) / left if left > 0 else 0.0
            if step > NEARLY * before:
                break
        least = code_of(float(sizes.max(initial=0)) / MOST_LEVEL) + 1
        return min(max(code_of(step), least), MOST_CODE)

    def decode(self, payloads: Sequence[bytes], schema: Schema) -> Update:
        """Invert `encode`, as `rdo` does."""
        return ANY.decode(payloads, schema)

    def decode_traced(
        self, payloads: Sequence[bytes], schema: Schema
    ) -> tuple[Update, tuple[StageBytes, ...]]:
        """Decode, and tell the payloads' size."""
        return ANY.decode_traced(payloads, schema)

    def max_payload_bytes(self, tensor: TensorSpec) -> int:
        """As with `rdo`."""
        return FLOAT_BYTES * tensor.size + SPARE_BYTES

    def __str__(self) -> str:
        """The canonical text."""
        return render(self)


def _drawn(matrix: Values, step: float, seed: tuple[int, ...]) -> Values:
    """Multiples of the step, as whole numbers in float32: the one below, or the one above by chance."""
    steps = matrix / np.float64(step)
    steps += np.random.default_rng(seed).random(matrix.shape)
    return np.floor(steps).astype(np.float32)


def _write(drawn: Values, encoder: Encoder) -> None:
    """Write whole numbers as they are: a step of one, and nothing to save."""
    if not drawn.any():
        encoder.number(MODE_MODELS, MODE_BITS, Mode.ZERO)
        return
    encoder.number(MODE_MODELS, MODE_BITS, Mode.PLANE)
    encode_plane(drawn, encoder, Scale(1.0, 0.0, math.inf, whole=True), VALUES)
