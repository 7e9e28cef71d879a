"""The contracts of a codec's parts: a stage, a byte stage, a body.

A body turns a whole update into one payload a tensor and back. The usual body is a `Chain` of stages;
a codec that looks at all tensors together is a body of its own. All three are frozen dataclasses whose
fields are the arguments in the codec's text, and none keeps state: what must survive to the next update
is returned, and handed in again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from phloem.compression.signal import Array, Spec
from phloem.compression.text import Named, Part
from phloem.compression.update import Schema, TensorSpec, Update

Seed = tuple[int, ...]
"""What `numpy.random.default_rng` takes. A value, not a generator: most stages draw nothing."""

Warm = Mapping[str, Array]
"""What stages want to see again at the next update, by tensor and place in the chain."""


class Stage(Named, Protocol):
    """Turns one signal into others and back."""

    def __hash__(self) -> int:
        """Equal stages make equal plans, which are kept."""

    def plan(self, spec: Spec, /) -> tuple[Spec, ...] | None:
        """The specs that replace `spec`, or None where this stage lets it pass."""

    def encode(
        self, array: Array, spec: Spec, warm: Array | None, seed: Seed, /
    ) -> tuple[list[Array], Array | None]:
        """The signals that replace `array`, as planned, and what to see again as `warm`.

        `array` is finite and is not changed.

        Raises:
            ConfigError: the values are outside what this stage can carry.
        """

    def decode(self, arrays: Sequence[Array], spec: Spec, /) -> Array:
        """Invert `encode`: bit-equal on every machine, so elementwise IEEE operations only.

        Raises:
            CorruptUpdate: no encoder gives these signals.
        """


@runtime_checkable
class OpenStage(Stage, Protocol):
    """A stage that leaves a number open, such as how many values stay: it is found anew and travels.

    Signals are largest as `plan` says, or for the largest number; in between they grow.
    """

    def most(self, spec: Spec, /) -> int | None:
        """The largest number for such a signal; None where nothing is open."""

    def fit(self, array: Array, spec: Spec, warm: Array | None, seed: Seed, /) -> tuple[int, Array | None]:
        """The number for this signal, from 0 on, and what `encode` will get as `warm`."""

    def at(self, number: int, /) -> Stage:
        """The stage with nothing left open, which does the work."""


@runtime_checkable
class SelectingStage(Stage, Protocol):
    """A stage that leaves out what ranks low, and can be told the ranks.

    Where it asks for that, `by` is not "magnitude"; it then comes first in its chain.
    """

    @property
    def by(self) -> str:
        """What ranks, as `ranking` names it."""

    def select(self, array: Array, scores: Array, /) -> list[Array]:
        """Encode, keeping what has the largest scores."""


@runtime_checkable
class SharingStage(OpenStage, Protocol):
    """An open stage whose numbers may depend on the whole update.

    Where they do, `scope` is "update"; it then comes first in its chain.
    """

    @property
    def scope(self) -> str:
        """What its numbers depend on: "tensor" or "update"."""

    def shares(
        self, scores: Sequence[Array], warm: Sequence[Array | None], /
    ) -> list[tuple[int, Array | None]]:
        """What `fit` gives for each of the tensors, given their values, or their importance."""


@runtime_checkable
class BatchStage(Stage, Protocol):
    """A stage that takes many signals at once, along a first axis, and does with each what it does alone."""

    def encode_many(self, arrays: Array, spec: Spec, seeds: Sequence[Seed], /) -> list[Array]:
        """The signals that replace each, as planned."""

    def decode_many(self, arrays: Sequence[Array], spec: Spec, /) -> Array:
        """Invert `encode_many`, which alone it is used on."""


class ByteStage(Named, Protocol):
    """Squeezes the bytes of one tensor without loss."""

    def most_bytes(self, size: int, /) -> int:
        """The most that `encode` gives for at most `size` bytes."""

    def encode(self, data: bytes, /) -> bytes:
        """Squeeze."""

    def decode(self, data: bytes, limit: int, /) -> bytes:
        """Invert `encode`, giving at most `limit` bytes and using up all of `data`.

        Raises:
            CorruptUpdate: no encoder gives these bytes.
        """


@dataclass(frozen=True, slots=True)
class StageBytes:
    """How many bytes an update has after a stage."""

    stage: str
    bytes: int


class Body(Part, Protocol):
    """Turns an update into one payload a tensor, in the schema's order, and back."""

    def encode(self, update: Update, schema: Schema, warm: Warm, seed: int, /) -> tuple[list[bytes], Warm]:
        """The payloads and what to see again as `warm`; `update` is finite and is not changed."""

    def decode(self, payloads: Sequence[bytes], schema: Schema, /) -> Update:
        """Invert `encode`: bit-equal on every machine. The codec checks that the result is finite.

        Raises:
            CorruptUpdate: no encoder gives these payloads.
        """

    def decode_traced(
        self, payloads: Sequence[bytes], schema: Schema, /
    ) -> tuple[Update, tuple[StageBytes, ...]]:
        """Decode, and tell how many bytes the update has after each stage, in encoding order."""

    def max_payload_bytes(self, tensor: TensorSpec, /) -> int:
        """The most that `encode` gives for this tensor."""

    def __str__(self) -> str:
        """The canonical text, which the registry parses back to an equal body."""


@runtime_checkable
class BudgetedBody(Body, Protocol):
    """A body that keeps to a size of the whole frame."""

    def beside(self, sizes: Sequence[int], /) -> Body:
        """The same with what is left when payloads of these sizes go along.

        Raises:
            ConfigError: nothing is left.
        """
