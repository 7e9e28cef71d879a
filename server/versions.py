"""The models clients hold, version by version, and the cheapest bytes from one to the next.

The server's global model g and the model x that clients hold are two things. Version 0 is what the
anchor codec makes of g; each step is x' = x + C(g - x), so what C loses stays in g - x and is sent with
the next step: the server's error feedback needs no state of its own. All clients at a version hold the
same bits, which a hash proves.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from phloem.compression.codec import Codec, StageBytes
from phloem.compression.frame import pack_chain
from phloem.compression.update import Schema, Update, add, subtract
from phloem.protocol import FULL, NO_VERSION, model_hash


@dataclass(frozen=True)
class Step:
    """A frame, the version it leads to, and its size stage by stage."""

    version: int
    blob: bytes
    stages: tuple[StageBytes, ...]


@dataclass(frozen=True)
class Versions:
    """The current version, and the steps by which a client can still get there."""

    schema: Schema
    model: Update
    """Bit for bit what a client at `version` holds."""
    version: int
    anchor: Step
    steps: tuple[Step, ...] = ()
    """The latest steps, oldest first; the last leads to `version`."""

    @cached_property
    def hash(self) -> bytes:
        """What a client at `version` must find."""
        return model_hash(self.model)

    @cached_property
    def full(self) -> Step:
        """The current model in full, for whoever cannot be led here by steps."""
        return _full_step(FULL, self.model, self.schema, self.version)[0]

    def path(self, held: int) -> tuple[Step, ...]:
        """Return the frames that lead from version `held` (or NO_VERSION) here, in the fewest bytes."""
        if held == self.version:
            return ()
        reachable = self.version - len(self.steps)
        chains = []
        if held >= reachable:
            chains.append(self.steps[held - reachable :])
        if reachable == 0 and held == NO_VERSION:
            chains.append((self.anchor, *self.steps))
        if any(
            len(chain) == 1 for chain in chains
        ):  # one step: the model in full cannot be less, spare its coding
            return chains[0]
        return min([*chains, (self.full,)], key=chain_bytes)


def chain_bytes(chain: tuple[Step, ...]) -> int:
    """Return the size of a chain on the wire."""
    return len(pack_chain([step.blob for step in chain]))


def first_version(model: Update, anchor: Codec) -> Versions:
    """Return version 0: what `anchor` makes of `model`."""
    schema = Schema.of(model)
    step, held = _full_step(anchor, model, schema, version=0)
    return Versions(schema, held, 0, step)


def advance(versions: Versions, model: Update, codec: Codec, *, seed: int, history: int) -> Versions:
    """Return the next version, a step closer to the global `model`; keeps the last `history` steps."""
    version = versions.version + 1
    blob, _ = codec.encode(subtract(model, versions.model), seed=seed, base=versions.version, seq=version)
    step, stages = codec.decode_traced(blob, versions.schema)
    return replace(
        versions,
        model=add(versions.model, step),
        version=version,
        steps=(*versions.steps, Step(version, blob, stages))[-history:],
    )


def _full_step(codec: Codec, model: Update, schema: Schema, version: int) -> tuple[Step, Update]:
    blob, _ = codec.encode(model, base=version, seq=version)
    held, stages = codec.decode_traced(blob, schema)
    return Step(version, blob, stages), held
