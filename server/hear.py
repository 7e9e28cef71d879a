"""A round's replies, one after the other: each checked and counted, or refused with a reason.

A reply is decoded, counted and forgotten before the next is looked at.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import partial

from phloem.compression.codec import codec
from phloem.compression.update import add
from phloem.errors import RejectedUpdate
from phloem.protocol import Reply, client_order
from phloem.seeds import derive
from phloem.server.aggregate import Gathering
from phloem.server.allocate import codec_for
from phloem.server.consensus import Votes
from phloem.server.distill.fusion import open_teacher
from phloem.server.distill.teacher import Teacher
from phloem.server.holdings import Holdings
from phloem.server.late import LATE, SILENT, beyond, needed
from phloem.server.sanitize import Expected, Sane, brief, read_reply, read_update
from phloem.server.state import Accepted, Arrived, Refused, ServerState, Setting
from phloem.server.strikes import Strikes


@dataclass
class Heard:
    """What is known of a round so far, reply by reply."""

    asked: int
    """How many clients were."""
    enough: int
    """How many usable replies make the round."""
    gatherings: list[Gathering]
    """What the updates of each global model come to."""
    teacher: Teacher | None
    held: Holdings
    acked: dict[str, int]
    strikes: Strikes
    votes: Votes | None = None
    """Where logits travel: what the clients vote for."""
    accepted: list[Accepted] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    """Those whose scalars made sense."""


def hear(setting: Setting, state: ServerState, round_number: int, arrived: Iterable[Arrived]) -> Heard:
    """Hear the replies in sorted order of client ids."""
    server, in_turn = setting.experiment.server, list(arrived)
    enough = needed(server, len(in_turn))
    late = {item.client for item in beyond(in_turn, enough, partial(is_usable, setting, state, round_number))}
    seed = derive(setting.experiment.run.seed, "questions", round_number)
    found = Heard(
        asked=len(in_turn),
        enough=enough,
        gatherings=[Gathering(setting.shared, server) for _ in state.models],
        teacher=open_teacher(setting.learner, setting.federation, server.distill, seed=seed),
        held=state.held,
        acked=dict(state.acked),
        strikes=state.strikes,
        votes=None if setting.consensus is None else setting.consensus.votes(),
    )
    for item in sorted(in_turn, key=lambda a: client_order(a.client)):
        started = time.perf_counter()
        try:
            sane = _checked(setting, state, round_number, item, found, late=item.client in late)
        except RejectedUpdate as error:
            if error.code == "change":  # dropped for good: else it would come back, as residual, every round
                found.acked[item.client] = found.replies[-1].seq
            if error.code == "failure":  # it may have lost its model
                lost = found.held.astray if item.astray else found.held.forget
                found.held = lost(item.client)
            found.strikes = found.strikes.count(item.client, error.code, round_number, server)
            reason = f"{error}{found.strikes.verdict(item.client, round_number)}"
            found.refused.append(Refused(item.client, error.code, reason))
            continue
        if sane is None:
            continue
        seconds = time.perf_counter() - started
        found.accepted.append(Accepted(replace(sane, update={}), len(item.blob), seconds))
        found.acked[item.client] = sane.reply.seq
        _count(setting, state, sane, found)
    return found


def is_usable(setting: Setting, state: ServerState, round_number: int, item: Arrived) -> bool:
    """Tell whether a reply passes every check."""
    if item.silent or item.failure:
        return False
    version = state.held.position(item.client).version
    expected = Expected(item.client, round_number, version, state.acked[item.client])
    try:
        reply = read_reply(item.fields, expected, setting.limits)
        if reply.samples:
            _decoded(setting, state, reply, item.blob)
    except RejectedUpdate:
        return False
    return True


def _checked(
    setting: Setting, state: ServerState, round_number: int, item: Arrived, found: Heard, *, late: bool
) -> Sane | None:
    """Return a reply that passed every check; None where it has no update.

    Raises:
        RejectedUpdate: it did not pass one, or came late.
    """
    if item.silent:
        raise RejectedUpdate(*(LATE if late else SILENT))
    if item.failure:
        raise RejectedUpdate("failure", brief(item.failure))
    version = found.held.position(item.client).version
    expected = Expected(item.client, round_number, version, found.acked[item.client])
    reply = read_reply(item.fields, expected, setting.limits)
    found.held = found.held.confirm(item.client)
    found.replies.append(reply)
    if reply.samples == 0:
        return None
    if late:
        raise RejectedUpdate(*LATE)
    return _decoded(setting, state, reply, item.blob)


def _decoded(setting: Setting, state: ServerState, reply: Reply, blob: bytes) -> Sane:
    asked = codec(codec_for(setting.experiment.uplink, state.levels, reply.client))
    return read_update(reply, blob, asked, setting.schema(state.held, reply.client), setting.limits)


def _count(setting: Setting, state: ServerState, sane: Sane, found: Heard) -> None:
    """Add an update to those of its model, and let the client's own network vote."""
    client, side = sane.reply.client, state.reactions.side(sane.reply.client)
    if found.votes is not None:
        found.votes.add(found.held.weights(client), sane.update, sane.class_counts)
        return
    part = setting.part(state.held, client)
    found.gatherings[side].add(sane.update, sane.reply.samples, part)
    if found.teacher is not None and side == 0 and len(sane.class_counts):
        model = add(found.held.weights(client), sane.update)
        found.teacher.hear(model, sane.class_counts, setting.network(part))
