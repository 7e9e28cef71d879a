"""One round of the server, as a function of values: (state, replies) -> (state, what happened).

    replies, in the order of client ids ─> check, decode ─> mean ─> (distill) ─> next version ─> acknowledge

Replies are decoded one at a time: beside their blobs, memory does not grow with the number of clients.
"""

from __future__ import annotations

import time
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from phloem.compression.codec import codec
from phloem.compression.update import Update, add, is_finite
from phloem.config import Experiment
from phloem.errors import RejectedUpdate, RunError
from phloem.learning import Model
from phloem.protocol import Reply, client_order, model_hash
from phloem.seeds import derive, generator
from phloem.server.aggregate import Gathering
from phloem.server.allocate import Levels, choose_levels, codec_for, observe
from phloem.server.distill import Distilled, distill, open_teacher
from phloem.server.held import Downlink, Held, Path, begin, send, welcome
from phloem.server.late import LATE, SILENT, beyond, needed, to_ask
from phloem.server.react import Did, Reactions, most_have_second, react, swapped, with_asked
from phloem.server.sanitize import Expected, Limits, Sane, brief, read_reply, read_update
from phloem.server.strikes import Strikes
from phloem.sources import Federation


@dataclass(frozen=True)
class ServerState:
    """What the server keeps between rounds."""

    model: Update
    """The global model."""
    held: Held
    """What the clients hold of it."""
    acked: Mapping[str, int]
    """Sequence number of each known client's last applied update."""
    memory: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    """What the server's optimizer remembers: its moments."""
    strikes: Strikes = field(default_factory=Strikes)
    levels: Levels = field(default_factory=Levels)
    reactions: Reactions = field(default_factory=Reactions)

    @property
    def models(self) -> tuple[Update, ...]:
        """The global model, and the second one if there are two."""
        return (self.model, self.reactions.second) if self.reactions.second else (self.model,)


@dataclass(frozen=True)
class Setting:
    """What does not change over a run."""

    experiment: Experiment
    federation: Federation
    learner: Model

    @property
    def limits(self) -> Limits:
        """What a reply may ask for at most."""
        server = self.experiment.server
        return Limits(server.max_samples, server.max_change, self.federation.classes)


@dataclass(frozen=True)
class Arrived:
    """What came back from one client: the fields and blob of its reply, or why there are none."""

    client: str
    fields: Mapping[str, object]
    blob: bytes
    failure: str = ""
    silent: bool = False
    """Nothing came: the client may have taken what it was sent, or not."""
    astray: bool = False
    """What it was sent did not lead it to the version: it failed with a ProtocolError."""


@dataclass(frozen=True)
class Accepted:
    """A reply that was applied, without its update."""

    sane: Sane
    payload_bytes: int
    decode_seconds: float


@dataclass(frozen=True)
class Refused:
    """A reply that was not applied."""

    client: str
    code: str
    reason: str


@dataclass(frozen=True)
class Outcome:
    """What a round did."""

    state: ServerState
    accepted: tuple[Accepted, ...]
    refused: tuple[Refused, ...]
    distilled: Distilled | None
    heard: tuple[Reply, ...] = ()
    """Replies whose scalars made sense, whatever became of their updates."""
    did: tuple[Did, ...] = ()
    """What followed from alarms."""


def first_state(setting: Setting, clients: Mapping[str, bytes]) -> ServerState:
    """Return the state before the first round; `clients` gives each one's hash of the first version."""
    experiment = setting.experiment
    model = setting.learner.initial(derive(experiment.run.seed, "model"))
    same = model_hash(model)
    makers = [client for client, found in clients.items() if found == same]
    return ServerState(model, begin(model, makers), dict.fromkeys(clients, 0))


def admit(state: ServerState, clients: Mapping[str, bytes]) -> ServerState:
    """Return the state with those clients that were not in it, each with its hash of the first version."""
    held, acked = state.held, dict(state.acked)
    for client in sorted(set(clients) - set(acked), key=client_order):
        held, acked[client] = welcome(held, client, clients[client]), 0
    return replace(state, held=held, acked=acked)


def start_over(state: ServerState, clients: Iterable[str]) -> ServerState:
    """Return the state where these clients, which lost all they kept, hold nothing but what they can make."""
    held = state.held
    for client in clients:
        held = held.forget(client)
    return replace(state, held=held)


def choose(
    setting: Setting, state: ServerState, round_number: int, here: Container[str] | None = None
) -> list[str]:
    """Return the clients of a round, in order: the same for the same seed, whatever carries them.

    `here` are those that can be reached; all, if it is left out.

    Raises:
        RunError: nobody is left.
    """
    known = sorted(state.acked, key=client_order)
    clients = [
        client
        for client in known
        if (here is None or client in here) and not state.strikes.out(client, round_number)
    ]
    if known and not clients:
        raise RunError(
            f"Some client should be left to ask in round {round_number}. Found none: of {len(known)} all are "
            "gone, or left out for their replies. See the ledger's rejections, or raise `server.strikes`."
        )
    wanted = to_ask(setting.experiment.server, len(clients))
    if wanted >= len(clients):
        return clients
    rng = generator(setting.experiment.run.seed, "choose", round_number)
    chosen = [clients[i] for i in sorted(rng.choice(len(clients), wanted, replace=False))]
    return with_asked(state.reactions, chosen, clients)


def instruct(
    setting: Setting, state: ServerState, round_number: int, clients: Sequence[str]
) -> tuple[ServerState, dict[str, Path]]:
    """Return the path of each client to the global model, and the state once these are sent."""
    config = setting.experiment.downlink
    downlink = Downlink(codec(config.codec), codec(config.anchor), config.held_models, config.error)
    seed = derive(setting.experiment.run.seed, "downlink", round_number)
    held, found = state.held, dict[str, Path]()
    for side, model in enumerate(state.models):
        group = [client for client in clients if state.reactions.side(client) == side]
        held, paths = send(held, group, model, downlink, seed=seed, keep=clients)
        found |= paths
    left = (setting.experiment.run.rounds - round_number + 1) * len(clients)
    levels = choose_levels(setting.experiment.uplink, state.levels, clients, round_number, left)
    return replace(state, held=held, levels=levels), {client: found[client] for client in clients}


def is_usable(setting: Setting, state: ServerState, round_number: int, item: Arrived) -> bool:
    """Tell whether a reply passes every check."""
    if item.silent or item.failure:
        return False
    version = state.held.position(item.client).version
    expected = Expected(item.client, round_number, version, state.acked[item.client])
    spoken = codec(codec_for(setting.experiment.uplink, state.levels, item.client))
    try:
        reply = read_reply(item.fields, expected, setting.limits)
        if reply.samples:
            read_update(reply, item.blob, spoken, setting.learner.schema, setting.limits)
    except RejectedUpdate:
        return False
    return True


def aggregate(setting: Setting, state: ServerState, round_number: int, arrived: Iterable[Arrived]) -> Outcome:
    """Apply the replies of a round; or none of them, where too few are usable.

    Replies count in sorted order of client ids, so the last bits do not depend on who was fast.

    Raises:
        RunError: the aggregate is not finite in spite of every check.
    """
    server = setting.experiment.server
    uplink = setting.experiment.uplink
    limits = setting.limits
    gatherings = [Gathering(setting.learner.schema, server) for _ in state.models]
    seed = derive(setting.experiment.run.seed, "questions", round_number)
    teacher = open_teacher(setting.learner, setting.federation, server.distill, seed=seed)

    accepted: list[Accepted] = []
    refused: list[Refused] = []
    heard: list[Reply] = []
    held, acked, strikes = state.held, dict(state.acked), state.strikes
    in_turn = list(arrived)
    enough = needed(server, len(in_turn))
    late = {item.client for item in beyond(in_turn, enough, partial(is_usable, setting, state, round_number))}
    replies = sorted(in_turn, key=lambda a: client_order(a.client))
    for item in replies:
        version = held.position(item.client).version
        expected = Expected(item.client, round_number, version, acked[item.client])
        started, seq = time.perf_counter(), expected.acked_seq
        try:
            if item.silent:
                raise RejectedUpdate(*(LATE if item.client in late else SILENT))
            if item.failure:
                raise RejectedUpdate("failure", brief(item.failure))
            reply = read_reply(item.fields, expected, limits)
            held, seq = held.confirm(item.client), reply.seq
            heard.append(reply)
            if reply.samples == 0:
                continue
            if item.client in late:
                raise RejectedUpdate(*LATE)
            asked = codec(codec_for(uplink, state.levels, item.client))
            sane = read_update(reply, item.blob, asked, setting.learner.schema, limits)
        except RejectedUpdate as error:
            if error.code == "change":  # dropped for good: else it would come back, as residual, every round
                acked[item.client] = seq
            if error.code == "failure":  # it may have lost its model
                held = held.astray(item.client) if item.astray else held.forget(item.client)
            strikes = strikes.count(item.client, error.code, round_number, server)
            reason = f"{error}{strikes.verdict(item.client, round_number)}"
            refused.append(Refused(item.client, error.code, reason))
            continue
        accepted.append(Accepted(replace(sane, update={}), len(item.blob), time.perf_counter() - started))
        acked[item.client] = reply.seq
        side = state.reactions.side(item.client)
        gatherings[side].add(sane.update, reply.samples)
        if teacher is not None and side == 0 and len(sane.class_counts):
            teacher.hear(add(held.weights(item.client), sane.update), sane.class_counts)

    usable = len(replies) - len(refused)
    if usable < server.quorum * enough:
        text = f"Of {enough} replies {usable} were usable, fewer than `server.quorum` asks for."
        refused += [Refused(item.sane.reply.client, "quorum", text) for item in accepted]
        kept = {client: state.acked[client] for client in (item.sane.reply.client for item in accepted)}
        state = replace(state, held=held, acked={**acked, **kept}, strikes=strikes)
        return Outcome(state, (), tuple(refused), None, tuple(heard))

    model: Update
    model, memory = gatherings[0].apply_to(state.model, state.memory, round_number)
    reactions = state.reactions
    if reactions.second:
        second, second_memory = gatherings[1].apply_to(reactions.second, reactions.memory, round_number)
        reactions = replace(reactions, second=second, memory=second_memory)
    if not (is_finite(model) and is_finite(reactions.second)):
        raise RunError(
            f"The global model should be finite. Found NaN or infinity in round {round_number}. "
            "Lower `server.learning_rate` or `server.max_change`."
        )
    distilled = None
    if teacher is not None and teacher.votes is not None:
        seed = derive(setting.experiment.run.seed, "distill", round_number)
        teacher.hear_again(state.model, server.distill.previous)
        distilled = distill(model, teacher, setting.federation.validation, server.distill, seed=seed)
        model = distilled.model

    told = [(item.sane.reply, item.payload_bytes) for item in accepted]
    levels = observe(uplink, state.levels, round_number, told)
    reactions, did = react(server, reactions, model, heard)
    if most_have_second(reactions, tuple(acked)):
        (model, memory), reactions = reactions.first(), swapped(reactions, model, memory, tuple(acked))
    after = ServerState(model, held, acked, memory, strikes, levels, reactions)
    return Outcome(after, tuple(accepted), tuple(refused), distilled, tuple(heard), did)
