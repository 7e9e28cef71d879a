"""One update encoded at one step after the other, until it meets its target.

What does not depend on the step is kept between attempts: the matrices, their components, and, while the
step moves little, the mode that won for each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phloem.compression.entropy import Encoder, Scale, StreamFull
from phloem.compression.factors import Components
from phloem.compression.modes import Mode, as_matrix
from phloem.compression.rate import (
    CLOSE,
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
from phloem.compression.trials import Choice, encode_again, encode_tensor
from phloem.compression.update import FLOAT_BYTES, Schema, Update
from phloem.compression.wire import varint_bytes

STEP_BITS = 16
END_BITS, END_MARK = 8, 0xA5
"""What follows the last tensor: any end of a stream is the end of some update, but rarely after this mark."""

NOTHING = b"\0"
"""The stream of an update that is all zero, or all of which became zero."""

SPARE_BYTES = 64
"""What a tensor may take over its dense size."""

SAME_MODES = 3 * KNOBS_AN_OCTAVE // 2
"""While the step moves by less, modes are not tried again."""

ROOM = 4.0
"""Attempts that take so many times their target are given up."""

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
    """An encoded update, its squared error over its square, and how its tensors were coded."""

    knob: int
    payloads: list[bytes]
    nmse: float
    choices: tuple[Choice, ...]


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
        self._least = min(code_of(largest / (1 << 22)) + 1, MOST_CODE)
        self._most = code_of(4 * math.sqrt(square))  # no factor has a larger value than the norm
        self._start = int(warm[STEP_KEY][0]) if STEP_KEY in warm else None
        self._room = sum(self._limits)
        self._last: Made | None = None

    def search(self, size: SizeTarget | None, nmse: float | None) -> Made | None:
        """The encoding nearest to a target of size or error within it; None where there is none."""
        if self._rms == 0:
            return self._nothing(size)
        if nmse is not None:
            best = search(self._error_probe(None), nmse, self._first(nmse), rising=True).best
            if best and best.made and best.measure < CLOSE * nmse:
                fixed = search(self._error_probe(best.made), nmse, best.knob + SHADES, rising=True).best
                best = min((probe for probe in (best, fixed) if probe), key=lambda probe: probe.loss)
            return best.made if best else None
        assert size is not None
        self._room = int(ROOM * size.most) + SPARE_BYTES
        bits = 8 * max(size.most - size.overhead, 1) / sum(c.matrix.size for c in self._components)
        found = search(
            self._size_probe(size, None), size.most, self._first(4.0 ** -min(bits, 16)), rising=False
        )
        best, over = found.best, found.over
        if over and over.made and not (best and best.measure >= CLOSE * size.most):
            # Between two steps a mode or a rank changed, and the size jumped: keep what the larger one chose.
            fixed = search(
                self._size_probe(size, over.made), size.most, over.knob + SHADES, rising=False
            ).best
            best = min(
                (probe for probe in (best, fixed) if probe), key=lambda probe: probe.loss, default=None
            )
        return best.made if best else self._nothing(size)

    def warm(self, made: Made) -> Warm:
        """What to begin with at the next update."""
        warm: dict[str, NDArray[np.float32]] = {}
        if any(choice.mode is not Mode.ZERO for choice in made.choices):
            warm[STEP_KEY] = np.array([made.knob], np.float32)
        for name, components, choice in zip(self._names, self._components, made.choices, strict=True):
            if choice.rank:
                warm[RIGHT_KEY + name] = components.right
        return warm

    def _first(self, nmse: float) -> int:
        """The knob to begin with: that of the update before, or one for Gaussian values."""
        return self._start or code_of(self._rms * math.sqrt(12 * nmse)) * SHADES

    def _nothing(self, size: SizeTarget | None) -> Made | None:
        """The encoding of zeros, if it is within the target."""
        zero = Choice(Mode.ZERO, 0, math.inf, 0.0, 0.0)
        made = Made(MOST_CODE * SHADES, cut(NOTHING, [1] * len(self._full)), 1.0, (zero,) * len(self._names))
        return made if size is None or size.size(made.payloads) <= size.most else None

    def _size_probe(self, size: SizeTarget, like: Made | None) -> Callable[[int], Probe[Made | None]]:
        """Probe for the size; of two within the target that with less error is better."""

        def probe(knob: int) -> Probe[Made | None]:
            made = self._at(knob, like)
            taken = size.size(made.payloads) if made else math.inf
            return Probe(knob, taken, made.nmse if made else math.inf, made)

        return probe

    def _error_probe(self, like: Made | None) -> Callable[[int], Probe[Made | None]]:
        """Probe for the error; what is larger than dense has none, but is not what anybody wants."""

        def probe(knob: int) -> Probe[Made | None]:
            made = self._at(knob, like)
            if made is None:
                return Probe(knob, 0.0, math.inf, None)
            return Probe(knob, made.nmse, sum(map(len, made.payloads)), made)

        return probe

    def _at(self, knob: int, like: Made | None) -> Made | None:
        """Encode at one knob, with the choices of `like` or its own; None where that is larger than dense."""
        code = min(max(knob // SHADES, self._least), self._most)
        scale = Scale(math.ldexp(step_of(code), -self._shift), price_of(knob))
        encoder = Encoder(min(sum(self._limits), self._room))
        last = self._last if self._last and abs(knob - self._last.knob) < SAME_MODES else None
        cuts: list[int] = []
        choices: list[Choice] = []
        error = 0.0
        try:
            encoder.number(-1, STEP_BITS, code)
            for full in self._full:
                if full:
                    components = self._components[len(choices)]
                    if like:
                        choice = encode_again(components, encoder, scale, like.choices[len(choices)])
                    else:
                        nearby = last.choices[len(choices)] if last else None
                        choice = encode_tensor(components, encoder, scale, nearby)
                    choices.append(choice)
                    error += choice.error
                cuts.append(encoder.shifts)
            encoder.number(-1, END_BITS, END_MARK)
        except StreamFull:
            return None
        if all(choice.mode is Mode.ZERO for choice in choices):
            return self._nothing(None)
        payloads = cut(encoder.finish(), cuts)
        if any(len(payload) > limit for payload, limit in zip(payloads, self._limits, strict=True)):
            return None
        made = Made(knob, payloads, error * scale.step**2 / self._square, tuple(choices))
        if not (last or like):
            self._last = made
        return made


def cut(stream: bytes, cuts: Sequence[int]) -> list[bytes]:
    """The stream in pieces that end after so many words each; the last one has the rest."""
    ends = [*(min(2 * cut, len(stream)) for cut in cuts[:-1]), len(stream)]
    return [stream[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)] if cuts else []
