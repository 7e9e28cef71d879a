"""One update encoded at one step after the other, until it meets its target.

What does not depend on the step is kept between attempts: the matrices, their components, and, while the
step moves little, the mode that won for each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phloem.compression.entropy import Encoder, Scale, StreamFull
from phloem.compression.factors import Components
from phloem.compression.modes import Mode, as_matrix, encode_tensor
from phloem.compression.rate import (
    KNOBS_AN_OCTAVE,
    MOST_CODE,
    SHADES,
    Probe,
    code_of,
    price_of,
    search,
    step_of,
)
from phloem.compression.stage import Warm
from phloem.compression.update import FLOAT_BYTES, Schema, Update
from phloem.compression.wire import varint_bytes

STEP_BITS = 16
SPARE_BYTES = 64
"""What a tensor may take over its dense size."""

SAME_MODES = KNOBS_AN_OCTAVE
"""While the step moves by less, modes are not tried again."""

STEP_KEY = "rdo/step"
RIGHT_KEY = "rdo/right/"


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
    """An encoded update, its squared error over its square, and the modes of its tensors."""

    knob: int
    payloads: list[bytes]
    nmse: float
    modes: tuple[Mode, ...]


class Attempts:
    """The encodings of one update."""

    def __init__(self, update: Update, schema: Schema, warm: Warm, seed: int) -> None:
        """Prepare an update; `warm` is what an earlier one of the same model gave."""
        self._names = [spec.name for spec in schema.tensors if spec.size]
        self._limits = [FLOAT_BYTES * spec.size + SPARE_BYTES for spec in schema.tensors]
        self._full = [bool(spec.size) for spec in schema.tensors]
        matrices = [as_matrix(update[name]) for name in self._names]
        square = sum(float(np.square(matrix, dtype=np.float64).sum()) for matrix in matrices)
        self._rms = math.sqrt(square / max(schema.parameters, 1))
        # By a power of two, which is exact: now the squares of the largest float32 numbers are finite.
        self._shift = math.frexp(self._rms)[1]
        self._square = math.ldexp(square, -2 * self._shift)
        self._components = [
            Components(np.ldexp(matrix, -self._shift), (seed, place), warm.get(RIGHT_KEY + name))
            for place, (name, matrix) in enumerate(zip(self._names, matrices, strict=True))
        ]
        largest = max((float(np.abs(matrix).max()) for matrix in matrices), default=0.0)
        self._least = min(code_of(largest / (1 << 23)) + 1, MOST_CODE)
        self._start = int(warm[STEP_KEY][0]) if STEP_KEY in warm else None
        self._last: Made | None = None

    def search(self, size: SizeTarget | None, nmse: float | None) -> Made | None:
        """The encoding nearest to a target of size or error within it; None where there is none."""
        if self._rms == 0:
            made = self._nothing()
            return made if size is None or size.size(made.payloads) <= size.most else None
        if nmse is not None:
            found = search(self._probe_error, nmse, self._first(nmse), rising=True)
            return found.made if found else None
        assert size is not None

        def probe(knob: int) -> Probe[Made | None]:
            made = self._at(knob)
            taken = size.size(made.payloads) if made else math.inf
            return Probe(knob, taken, made.nmse if made else math.inf, made)

        bits = 8 * max(size.most - size.overhead, 1) / sum(c.matrix.size for c in self._components)
        found = search(probe, size.most, self._first(4.0 ** -min(bits, 16)), rising=False)
        if found:
            return found.made
        made = self._nothing()
        return made if size.size(made.payloads) <= size.most else None

    def warm(self, made: Made) -> Warm:
        """What to begin with at the next update."""
        warm: dict[str, NDArray[np.float32]] = {}
        if made.payloads and any(made.payloads):
            warm[STEP_KEY] = np.array([made.knob], np.float32)
        for name, components, mode in zip(self._names, self._components, made.modes, strict=True):
            if mode in (Mode.FACTORS, Mode.FACTORS_AND_PLANE):
                warm[RIGHT_KEY + name] = components.right
        return warm

    def _first(self, nmse: float) -> int:
        """The knob to begin with: that of the update before, or one for Gaussian values."""
        return self._start or code_of(self._rms * math.sqrt(12 * nmse)) * SHADES

    def _nothing(self) -> Made:
        """The encoding of zeros."""
        return Made(MOST_CODE * SHADES, [b""] * len(self._full), 1.0, (Mode.ZERO,) * len(self._names))

    def _probe_error(self, knob: int) -> Probe[Made | None]:
        """What is larger than dense has no error, but is not what anybody wants."""
        made = self._at(knob)
        if made is None:
            return Probe(knob, 0.0, math.inf, None)
        return Probe(knob, made.nmse, sum(map(len, made.payloads)), made)

    def _at(self, knob: int) -> Made | None:
        """Encode at one knob; None where that takes more bytes than dense."""
        code = max(knob // SHADES, self._least)
        scale = Scale(math.ldexp(step_of(code), -self._shift), price_of(knob))
        encoder = Encoder(sum(self._limits))
        near = self._last is not None and abs(knob - self._last.knob) < SAME_MODES
        known: Sequence[Mode | None] = self._last.modes if near and self._last else [None] * len(self._names)
        cuts: list[int] = []
        modes: list[Mode] = []
        error = 0.0
        try:
            encoder.number(-1, STEP_BITS, code)
            for full in self._full:
                if full:
                    place = len(modes)
                    choice = encode_tensor(self._components[place], encoder, scale, known[place] or None)
                    modes.append(choice.mode)
                    error += choice.error
                cuts.append(encoder.shifts)
        except StreamFull:
            return None
        payloads = cut(encoder.finish(), cuts)
        if any(len(payload) > limit for payload, limit in zip(payloads, self._limits, strict=True)):
            return None
        made = Made(knob, payloads, error * scale.step**2 / self._square, tuple(modes))
        if not near:
            self._last = made
        return made


def cut(stream: bytes, cuts: Sequence[int]) -> list[bytes]:
    """The stream in pieces that end after so many words each; the last one has the rest."""
    ends = [*(min(2 * cut, len(stream)) for cut in cuts[:-1]), len(stream)]
    return [stream[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)] if cuts else []
