"""One update encoded at one step after the other, until it meets its target.

First steps are surveyed: every tensor in every mode, large ones by samples. Then, with the modes and ranks
that the survey chose, whole encodings close in on the target, which their sizes do smoothly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from phloem.compression.entropy import Encoder, Scale, StreamFull
from phloem.compression.factors import Components
from phloem.compression.kernels.points import energy, largest_size
from phloem.compression.modes import Mode, as_matrix
from phloem.compression.rate import (
    CODES_AN_OCTAVE,
    MOST_CODE,
    PRICE,
    STEP_BITS,
    Path,
    Probe,
    code_of,
    search,
    step_of,
)
from phloem.compression.sketch import first_step
from phloem.compression.stage import Warm
from phloem.compression.targets import Made, SizeTarget, Survey
from phloem.compression.trials import Choice, encode_tensor, survey_tensor
from phloem.compression.update import FLOAT_BYTES, Schema, Update

END_BITS, END_MARK = 8, 0xA5
"""What follows the last tensor: any end of a stream is the end of some update, but rarely after this mark."""

NOTHING = b"\0"
"""The stream of an update that is all zero, or all of which became zero."""

SPARE_BYTES = 64
"""What a tensor may take over its dense size."""

ROOM = 4.0
"""Attempts that take so many times their target are given up."""

MOST_SURVEYS = 6
SURVEY_ROOM = 4
"""A survey may take so many times more, for a step too fine says at least which way to go."""

NEAR_ENOUGH, FAR = 0.25, 1.0
"""In octaves of what is measured: nearer to the target the modes are those of the target; farther not."""

NARROW = CODES_AN_OCTAVE // 4
"""Where neighbouring steps are that near, and still not near enough, modes jump between them."""

SIZE_SLOPES, ERROR_SLOPES = (0.15, 3.0), (0.5, 2.2)
"""How fast the logarithms of a size, falling, and of an error, rising, move with the step's."""

MOST_ROUNDS = 3
CLOSE_ENOUGH, POOR = 0.98, 0.9
"""Rounds of surveys and searches; the shares of a target that end them, and that call for another way."""

SOME = {Mode.ZERO: Mode.PLANE}
ROTATED = dict.fromkeys((Mode.SIGNS, Mode.PLANE), Mode.ROTATED)

MOST_SHIFT = 40
"""Only values that are smaller or larger than other ones by such a power of two are scaled."""

STEP_KEY = "rdo/step"
RIGHT_KEY = "rdo/right/"


class Attempts:
    """The encodings of one update."""

    def __init__(self, update: Update, schema: Schema, warm: Warm, seed: int, factors: bool = True) -> None:
        """Prepare an update; `warm` is what an earlier one of the same model gave."""
        self._names = [spec.name for spec in schema.tensors if spec.size]
        self._limits = [FLOAT_BYTES * spec.size + SPARE_BYTES for spec in schema.tensors]
        self._full = [bool(spec.size) for spec in schema.tensors]
        self._factors = factors
        matrices = [as_matrix(update[name]) for name in self._names]
        square = sum(energy(matrix) for matrix in matrices)
        self.length = math.sqrt(square)
        self._rms = math.sqrt(square / max(schema.parameters, 1))
        # By a power of two, which is exact: now the squares of the largest float32 numbers are finite.
        shift = math.frexp(self._rms)[1]
        self._shift = shift if abs(shift) > MOST_SHIFT else 0
        self._square = math.ldexp(square, -2 * self._shift)
        self._components = [
            Components(
                np.ldexp(matrix, -self._shift) if self._shift else matrix,
                self._shift,
                (seed, place),
                warm.get(RIGHT_KEY + name),
            )
            for place, (name, matrix) in enumerate(zip(self._names, matrices, strict=True))
        ]
        largest = max((largest_size(matrix) for matrix in matrices), default=0.0)
        self._least = min(code_of(largest / (1 << 22)) + 1, MOST_CODE)
        self._most = code_of(4 * self.length)  # no factor has a larger value than the norm
        start = warm.get(STEP_KEY)
        self._start = None if start is None else int(start[0])
        self._slope = 0.0 if start is None else float(start[-1])
        self._room = sum(self._limits)

    def search(self, size: SizeTarget | None, nmse: float | None) -> Made | None:
        """The encoding nearest to a target of size or error within it; None where there is none."""
        if self._rms == 0:
            return self._nothing(size)
        if size is not None:
            self._room = int(ROOM * size.most) + SPARE_BYTES

            def size_probe(choices: Sequence[Choice], code: int) -> Probe[Made | None]:
                made = self._make(code, choices)
                taken = size.size(made.payloads) if made else math.inf
                return Probe(code, taken, made.nmse if made else math.inf, made)

            fixed = size.size([b""] * len(self._full))
            found = self._approach(
                lambda survey: survey.size + fixed, size_probe, size.most, *self._first(size, nmse)
            )
            return found or self._nothing(size)
        assert nmse is not None

        def error_probe(choices: Sequence[Choice], code: int) -> Probe[Made | None]:
            made = self._make(code, choices)
            if made is None:  # larger than dense: without error, but not what anybody wants
                return Probe(code, 0.0, math.inf, None)
            return Probe(code, made.nmse, sum(map(len, made.payloads)), made)

        start, slope = self._first(size, nmse)
        made = self._approach(lambda survey: survey.nmse, error_probe, nmse, start, slope)
        return made or self._descend(nmse, start)

    def warm(self, made: Made) -> Warm:
        """What to begin with at the next update."""
        warm: dict[str, NDArray[np.float32]] = {}
        if any(choice.mode is not Mode.ZERO for choice in made.choices):
            warm[STEP_KEY] = np.array([made.code, self._slope], np.float32)
        for name, components, choice in zip(self._names, self._components, made.choices, strict=True):
            if choice.rank:
                warm[RIGHT_KEY + name] = components.right
        return warm

    def _approach(
        self,
        measure: Callable[[Survey], float],
        probe: Callable[[Sequence[Choice], int], Probe[Made | None]],
        target: float,
        start: int,
        slope: float,
    ) -> Made | None:
        """Survey until modes are known, then encode; again where those turn out to be another target's."""
        best: Probe[Made | None] | None = None
        code = start
        choices: tuple[Choice, ...] = ()
        for _ in range(MOST_ROUNDS):
            survey = self._survey_near(measure, Path(target, slope), code)
            if survey is None:
                break
            choices = survey.choices
            code = Path(target, slope).next_code(survey.code, measure(survey))
            path = Path(target, slope)
            found = search(partial(probe, choices), path, code)
            self._slope = path.slope
            if found.best and (best is None or found.best.loss < best.loss):
                best = found.best
            if found.best and found.best.measure >= CLOSE_ENOUGH * target:
                break
            code = found.best.code if found.best else code + round(math.copysign(CODES_AN_OCTAVE, -slope))
        if choices and (best is None or best.measure < POOR * target):
            # Values of one size become zero all at once; rotated, they take as little as one wants.
            other = SOME if all(choice.mode is Mode.ZERO for choice in choices) else ROTATED
            choices = tuple(replace(choice, mode=other.get(choice.mode, choice.mode)) for choice in choices)
            found = search(partial(probe, choices), Path(target, slope), code)
            if found.best and (best is None or found.best.loss < best.loss):
                best = found.best
        return best.made if best else None

    def _descend(self, nmse: float, code: int) -> Made | None:
        """The first encoding within an error, going down: where modes jump, nothing may lie nearer."""
        while code > self._least:
            code = max(code - CODES_AN_OCTAVE // 2, self._least)
            survey = self._survey(code)
            made = self._make(code, survey.choices) if survey else None
            if survey and made and made.nmse <= nmse:
                return self._climb(made, survey.choices, nmse, code)
        return None

    def _climb(self, made: Made, choices: Sequence[Choice], nmse: float, code: int) -> Made:
        """The last encoding within an error that halving the way up finds, from one that is."""
        way = CODES_AN_OCTAVE // 4
        while way >= NARROW // 4:
            other = self._make(code + way, choices)
            if other and other.nmse <= nmse:
                made, code = other, code + way
            way //= 2
        return made

    def _survey_near(self, measure: Callable[[Survey], float], path: Path, code: int) -> Survey | None:
        """A survey near a target, or, where tensors drop out at once and there is none, of what is larger."""
        taken: Survey | None = None
        left = math.inf
        for _ in range(MOST_SURVEYS):
            survey = self._survey(code)
            found = measure(survey) if survey else (0.0 if path.slope > 0 else ROOM * path.target)
            gap = abs(math.log2(path.target / max(found, 1e-300)))
            far = min(gap, left) > FAR
            if survey and (taken is None or (survey.size > taken.size if far else gap < left)):
                taken, left = survey, gap
            here, code = code, path.next_code(code, found)
            if gap < NEAR_ENOUGH or (path.bracketed and abs(code - here) < NARROW):
                break
        return taken

    def _first(self, size: SizeTarget | None, nmse: float | None) -> tuple[int, float]:
        """The code to begin with and the slope there: those of the update before, or from a sketch."""
        least, most = (*ERROR_SLOPES,) if nmse else (-SIZE_SLOPES[1], -SIZE_SLOPES[0])
        if self._start is not None:
            return self._start, min(max(self._slope, least), most)
        bits = 8 * max(size.most - size.overhead, 1) if size else None
        error = nmse * self._square if nmse else None
        step, slope = first_step(self._components, self._factors, bits, error)
        return code_of(math.ldexp(step, self._shift)), min(max(slope, least), most)

    def _nothing(self, size: SizeTarget | None) -> Made | None:
        """The encoding of zeros, if it is within the target."""
        zero = Choice(Mode.ZERO, 0, 0.0, 0.0)
        made = Made(MOST_CODE, cut(NOTHING, [1] * len(self._full)), 1.0, (zero,) * len(self._names))
        return made if size is None or size.size(made.payloads) <= size.most else None

    def _scale(self, code: int) -> tuple[int, Scale]:
        code = min(max(code, self._least), self._most)
        return code, Scale(math.ldexp(step_of(code), -self._shift), PRICE)

    def _survey(self, code: int) -> Survey | None:
        """Try every tensor in every mode; None where that is far larger than the target."""
        code, scale = self._scale(code)
        encoder = Encoder(min(sum(self._limits), SURVEY_ROOM * self._room))
        encoder.number(-1, STEP_BITS, code)
        choices: list[Choice] = []
        try:
            for components in self._components:
                choices.append(survey_tensor(components, encoder, scale, self._factors))
        except StreamFull:
            return None
        bits = STEP_BITS + END_BITS + sum(choice.bits for choice in choices)
        error = sum(choice.error for choice in choices)
        return Survey(code, bits / 8, error * scale.step**2 / self._square, tuple(choices))

    def _make(self, code: int, choices: Sequence[Choice]) -> Made | None:
        """Encode at one code; None where that is larger than dense."""
        code, scale = self._scale(code)
        scale = replace(scale, whole=True, dense=scale.dense / 2)
        encoder = Encoder(min(sum(self._limits), self._room))
        cuts: list[int] = []
        made: list[Choice] = []
        try:
            encoder.number(-1, STEP_BITS, code)
            for full in self._full:
                if full:
                    place = len(made)
                    made.append(encode_tensor(self._components[place], encoder, scale, choices[place]))
                cuts.append(encoder.shifts)
            encoder.number(-1, END_BITS, END_MARK)
        except StreamFull:
            return None
        if all(choice.mode is Mode.ZERO for choice in made):
            return self._nothing(None)
        payloads = cut(encoder.finish(), cuts)
        if any(len(payload) > limit for payload, limit in zip(payloads, self._limits, strict=True)):
            return None
        error = sum(choice.error for choice in made)
        return Made(code, payloads, error * scale.step**2 / self._square, tuple(made))


def cut(stream: bytes, cuts: Sequence[int]) -> list[bytes]:
    """The stream in pieces that end after so many words each; the last one has the rest."""
    ends = [*(min(2 * cut, len(stream)) for cut in cuts[:-1]), len(stream)]
    return [stream[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)] if cuts else []
