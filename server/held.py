"""What each client holds, and the fewest bytes from there to the global model.

The model a client holds is not the global one but an approximation of it, known to the server bit for
bit: the last such model plus what the last step decoded to. A step is coded from the model the
client holds straight to the global one, however many rounds the client was away, so what came and went
again meanwhile is never sent, and what a step leaves out is part of the next: the server's error
feedback needs no state beside this one. Clients that hold the same model share the coding of a step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from phloem.compression.codec import EMPTY, Codec, CodecState, StageBytes
from phloem.compression.frame import pack_chain
from phloem.compression.rdo import Rdo
from phloem.compression.statistics import is_statistic
from phloem.compression.update import Schema, Update, add, digest, norm, subtract
from phloem.protocol import FIRST_VERSION, LONGEST_CHAIN, NO_VERSION, model_hash

FINEST, COARSEST = 1e-8, 0.999
"""NMSE of a step with `rdo`: the least asked for, to a model of zeros; and that for statistics alone."""


@dataclass(frozen=True)
class Model:
    """A model that clients hold; `target` tells the global model it stands for."""

    version: int
    weights: Update
    target: str

    @cached_property
    def hash(self) -> bytes:
        """What a client that holds it must find."""
        return model_hash(self.weights)


@dataclass(frozen=True)
class Step:
    """A frame, the version it leads to, and its size stage by stage."""

    version: int
    blob: bytes
    stages: tuple[StageBytes, ...]


@dataclass(frozen=True)
class Position:
    """Where a client is: the version it confirmed, and the steps sent since, which it may have taken."""

    confirmed: int = NO_VERSION
    sent: tuple[Step, ...] = ()

    @property
    def version(self) -> int:
        """The version at the end of everything that was sent."""
        return self.sent[-1].version if self.sent else self.confirmed


@dataclass(frozen=True)
class Path:
    """The frames for one client, and the model they lead to."""

    base: int
    chain: tuple[Step, ...]
    model: Model

    @cached_property
    def blob(self) -> bytes:
        """The frames as they travel."""
        return pack_chain([step.blob for step in self.chain])


@dataclass(frozen=True)
class Held:
    """The models that clients hold and who holds which; a value, replaced by every send and every reply."""

    positions: Mapping[str, Position] = field(default_factory=dict)
    models: Mapping[int, Model] = field(default_factory=dict)
    next_version: int = FIRST_VERSION + 1
    makers: frozenset[str] = frozenset()
    """Clients that can make the first version themselves, from the seed."""
    warm: CodecState = EMPTY
    """Where the step codec's search begins; bytes depend on it, correctness does not."""

    def position(self, client: str) -> Position:
        """Return where a client is; one never heard of holds nothing."""
        return self.positions.get(client, Position())

    def arrive(self, client: str, model: Model) -> Held:
        """Note that a client holds `model`, however it came by it."""
        held = replace(self, models={**self.models, model.version: model})
        return held._moved(client, Position(model.version))

    def confirm(self, client: str) -> Held:
        """Note that a client arrived where it was sent."""
        return self._moved(client, Position(self.position(client).version))

    def forget(self, client: str) -> Held:
        """Note that a client may hold nothing any more but what it can make itself."""
        return self._moved(client, Position(FIRST_VERSION if client in self.makers else NO_VERSION))

    def astray(self, client: str) -> Held:
        """Forget a client that lost its way; one that began at the first version cannot make that."""
        lost = self.position(client).confirmed == FIRST_VERSION
        return replace(self, makers=self.makers - {client} if lost else self.makers).forget(client)

    def weights(self, client: str) -> Update:
        """Return what a client holds that arrived where it was sent."""
        return self.models[self.position(client).version].weights

    def _moved(self, client: str, position: Position) -> Held:
        return replace(self, positions={**self.positions, client: position})


def begin(model: Update, makers: Iterable[str]) -> Held:
    """Return the state before anything was sent: `makers` made the first version, `model`, themselves."""
    first = Model(FIRST_VERSION, model, digest(model))
    able = frozenset(makers)
    return Held(dict.fromkeys(able, Position(FIRST_VERSION)), {FIRST_VERSION: first}, makers=able)


def welcome(held: Held, client: str, first_hash: bytes) -> Held:
    """Return the state with a client that came later, and its hash of the first version."""
    if first_hash != held.models[FIRST_VERSION].hash:
        return held
    return replace(held, makers=held.makers | {client})._moved(client, Position(FIRST_VERSION))


@dataclass(frozen=True)
class Downlink:
    """The codecs of the way down, and how many different models the server remembers for its clients."""

    steps: Codec
    anchor: Codec
    capacity: int
    error: float = 0.0
    """How far a client's model may be from the global one, as a share of its l2 norm, with `rdo`."""


def hold(held: Held, model: Update) -> tuple[Held, Model]:
    """Return the version under which a client holds `model` itself, once it got it some other way."""
    target = digest(model)
    known = (m for m in held.models.values() if m.target == target and digest(m.weights) == target)
    found = next(known, None)
    if found is not None:
        return held, found
    made = Model(held.next_version, model, target)
    return replace(held, next_version=held.next_version + 1), made


def send(
    held: Held,
    clients: Iterable[str],
    model: Update,
    downlink: Downlink,
    *,
    seed: int,
    keep: Iterable[str] = (),
) -> tuple[Held, dict[str, Path]]:
    """Return each client's path to `model`, and what they will hold when they took it.

    A path is the cheaper of two, as measured: what was sent before and may be lost, then one step from
    there; or the model in full, in the anchor's quality, for newcomers. A client that already holds what
    stands for `model` gets nothing. Where models are more than the capacity, those of `keep` stay as well.
    """
    work = _Sending(held, model, downlink, seed)
    paths = {client: work.path(client) for client in clients}
    return _within(work.held, downlink.capacity, {*paths, *keep}), paths


class _Sending:
    """One send: what was coded for one client serves all others in the same place."""

    def __init__(self, held: Held, model: Update, downlink: Downlink, seed: int) -> None:
        self.held = held
        self._model, self._schema, self._downlink, self._seed = model, Schema.of(model), downlink, seed
        self._target = digest(model)
        self._steps: dict[int, tuple[Step, Model] | None] = {}
        self._full: tuple[Step, Model] | None = None

    def path(self, client: str) -> Path:
        position = self.held.position(client)
        here = self.held.models.get(position.version)
        if here is None:
            return self._path_in_full(client)
        if here.target == self._target:
            return Path(position.confirmed, position.sent, here)
        if here.version not in self._steps:
            self._steps[here.version] = self._step(here)
        made = self._steps[here.version]
        if made is None:
            return Path(position.confirmed, position.sent, here)
        step, model = made
        path = Path(position.confirmed, (*position.sent, step), model)
        if len(path.chain) > LONGEST_CHAIN:
            return self._path_in_full(client)
        if len(path.blob) > self._least_full():
            full = self._path_in_full(client)
            if len(full.blob) < len(path.blob):
                return full
        self.held = self.held._moved(client, Position(position.confirmed, path.chain))
        return path

    def _step(self, here: Model) -> tuple[Step, Model] | None:
        """Return a step from `here`; None where all that is left is too small for the codec."""
        version = self.held.next_version
        difference = subtract(self._model, here.weights)
        steps = self._codec_for(difference)
        if steps is None:
            return None
        blob, warm = steps.encode(difference, self.held.warm, seed=self._seed, base=here.version, seq=version)
        decoded, stages = self._downlink.steps.decode_traced(blob, self._schema)
        if not any(tensor.any() for tensor in decoded.values()):
            return None
        model = Model(version, add(here.weights, decoded), self._target)
        self._remember(model, replace(warm, residual=None))
        return Step(version, blob, stages), model

    def _codec_for(self, difference: Update) -> Codec | None:
        """Return the codec that keeps to the error asked for; None where the difference is within it."""
        error = self._downlink.error
        if not error or not isinstance(self._downlink.steps.body, Rdo):
            return self._downlink.steps
        allowed, found = error * norm(self._model), norm(difference)
        if found > allowed:
            return Codec(Rdo(nmse=max((allowed / found) ** 2, FINEST)))
        exact = any(difference[t.name].any() for t in self._schema.tensors if is_statistic(t))
        return Codec(Rdo(nmse=COARSEST)) if exact else None

    def _path_in_full(self, client: str) -> Path:
        if self._full is None:
            version = self.held.next_version
            blob, _ = self._downlink.anchor.encode(self._model, base=version, seq=version)
            weights, stages = self._downlink.anchor.decode_traced(blob, self._schema)
            model = Model(version, weights, self._target)
            self._full = Step(version, blob, stages), model
            self._remember(model, self.held.warm)
        step, model = self._full
        self.held = self.held._moved(client, Position(NO_VERSION, (step,)))
        return Path(NO_VERSION, (step,), model)

    def _least_full(self) -> int:
        """Return a size below which a path is taken without coding the model in full to compare."""
        return self._schema.parameters // 8 if self._full is None else len(self._full[0].blob)

    def _remember(self, model: Model, warm: CodecState) -> None:
        models = {**self.held.models, model.version: model}
        self.held = replace(self.held, models=models, next_version=model.version + 1, warm=warm)


def _within(held: Held, capacity: int, keep: set[str]) -> Held:
    """Drop models nobody holds, and those of the longest absent clients while there are more than fit."""
    positions = dict(held.positions)
    absent = sorted((p.version, client) for client, p in positions.items() if client not in keep)
    needed = _needed(positions)
    while len(needed - {FIRST_VERSION, NO_VERSION}) > capacity and absent:
        _, client = absent.pop(0)
        positions[client] = Position(FIRST_VERSION if client in held.makers else NO_VERSION)
        needed = _needed(positions)
    models = {version: model for version, model in held.models.items() if version in needed}
    return replace(held, positions=positions, models=models)


def _needed(positions: Mapping[str, Position]) -> set[int]:
    return {FIRST_VERSION}.union(*((p.confirmed, p.version) for p in positions.values()))
