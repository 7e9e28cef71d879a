"""One round of the server, as a function of values: (state, replies) -> (state, what happened).

    replies, in the order of client ids ─> check, decode ─> mean ─> (distill) ─> next version ─> acknowledge

Replies are decoded one at a time: beside their blobs, memory does not grow with the number of clients.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from phloem.compression.codec import codec
from phloem.compression.update import Update, add, is_finite
from phloem.config import Experiment
from phloem.errors import RejectedUpdate, RunError
from phloem.learning import Model
from phloem.protocol import NO_VERSION, client_order
from phloem.seeds import derive, generator
from phloem.server.aggregate import StreamingMean
from phloem.server.distill import Distilled, Teacher, distill, questions
from phloem.server.sanitize import Expected, Limits, Sane, brief, read_reply, read_update
from phloem.server.versions import Versions, advance, first_version
from phloem.sources import Federation


@dataclass(frozen=True)
class ServerState:
    """What the server keeps between rounds."""

    model: Update
    """The global model; `versions.model` is what the clients hold of it."""
    versions: Versions
    held: Mapping[str, int]
    """Version each known client holds, as far as its last answer told."""
    acked: Mapping[str, int]
    """Sequence number of each client's last applied update."""


@dataclass(frozen=True)
class Setting:
    """What does not change over a run."""

    experiment: Experiment
    federation: Federation
    learner: Model


@dataclass(frozen=True)
class Arrived:
    """What came back from one client: the fields and blob of its reply, or why there are none."""

    client: str
    fields: Mapping[str, object]
    blob: bytes
    failure: str = ""


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
    encode_seconds: float
    """Time to encode the step to the next version."""


def first_state(setting: Setting, clients: Iterable[str]) -> ServerState:
    """Return the state before the first round: no client holds a model, none has sent an update."""
    experiment = setting.experiment
    model = setting.learner.initial(derive(experiment.run.seed, "model"))
    versions = first_version(model, codec(experiment.downlink.anchor))
    names = tuple(clients)
    return ServerState(model, versions, dict.fromkeys(names, NO_VERSION), dict.fromkeys(names, 0))


def choose(setting: Setting, state: ServerState, round_number: int) -> list[str]:
    """Return the clients of a round, in order: the same for the same seed, whatever carries them."""
    clients = sorted(state.held, key=client_order)
    wanted = setting.experiment.server.clients_per_round or len(clients)
    if wanted >= len(clients):
        return clients
    rng = generator(setting.experiment.run.seed, "choose", round_number)
    return [clients[i] for i in sorted(rng.choice(len(clients), wanted, replace=False))]


def aggregate(setting: Setting, state: ServerState, round_number: int, arrived: Iterable[Arrived]) -> Outcome:
    """Apply the replies of a round and move on to the next version.

    Replies count in sorted order of client ids, so the last bits do not depend on who was fast.

    Raises:
        RunError: the aggregate is not finite in spite of every check.
    """
    server = setting.experiment.server
    uplink = codec(setting.experiment.uplink.codec)
    limits = Limits(server.max_samples, server.max_change, setting.federation.classes)
    mean = StreamingMean(state.versions.schema)
    teacher = None
    if server.distill.enabled and len(setting.federation.proxy) and len(setting.federation.validation):
        seed = derive(setting.experiment.run.seed, "questions", round_number)
        proxy = questions(setting.federation.proxy, server.distill.mixup, seed=seed)
        teacher = Teacher(setting.learner, proxy, server.distill.temperature)

    accepted: list[Accepted] = []
    refused: list[Refused] = []
    held, acked = dict(state.held), dict(state.acked)
    for item in sorted(arrived, key=lambda a: client_order(a.client)):
        expected = Expected(item.client, round_number, state.versions.version, acked[item.client])
        started = time.perf_counter()
        try:
            if item.failure:
                raise RejectedUpdate("failure", brief(item.failure))
            reply = read_reply(item.fields, expected, limits)
            held[item.client] = reply.held
            if reply.samples == 0:
                continue
            sane = read_update(reply, item.blob, uplink, state.versions.schema, limits)
        except RejectedUpdate as error:
            if error.code == "failure":
                held[item.client] = NO_VERSION  # it may have lost its model: send it in full next time
            refused.append(Refused(item.client, error.code, str(error)))
            continue
        accepted.append(Accepted(replace(sane, update={}), len(item.blob), time.perf_counter() - started))
        acked[item.client] = reply.seq
        mean.add(sane.update, reply.samples)
        if teacher is not None and len(sane.class_counts):
            teacher.hear(add(state.versions.model, sane.update), sane.class_counts)

    model: Update = mean.apply_to(state.model, server.learning_rate)
    if not is_finite(model):
        raise RunError(
            f"The global model should be finite. Found NaN or infinity in round {round_number}. "
            "Lower `server.learning_rate` or `server.max_change`."
        )
    distilled = None
    if teacher is not None and teacher.votes is not None:
        seed = derive(setting.experiment.run.seed, "distill", round_number)
        distilled = distill(model, teacher, setting.federation.validation, server.distill, seed=seed)
        model = distilled.model

    started = time.perf_counter()
    versions = advance(
        state.versions,
        model,
        codec(setting.experiment.downlink.codec),
        seed=derive(setting.experiment.run.seed, "downlink", round_number),
        history=setting.experiment.downlink.history,
    )
    seconds = time.perf_counter() - started
    return Outcome(
        ServerState(model, versions, held, acked), tuple(accepted), tuple(refused), distilled, seconds
    )
