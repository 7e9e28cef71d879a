"""What the server does when clients say that their streams changed: ask them once more, or part them.

    extra_round: those with an alarm are asked in the next round as well, beside those whose turn it is
    cluster:     there are two global models, and a client with an alarm changes to the other one

One model cannot serve clients of which some have drifted and others not (E. Jothimurugesan et al., "Federated
learning under distributed concept drift", AISTATS 2023). Theirs are as many models as there are concepts,
found by every client's loss under every model, which costs sending all of them. Here there are two: the
second begins as a copy of the first, at the first alarms. A client that changes to a model it fits worse,
by its next reply, goes back. The model of most clients is the run's.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from phloem.config import ServerConfig
from phloem.protocol import Reply, client_order
from phloem.stream_rows import Deed

Memory = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Reactions:
    """What the server remembers of alarms, as a value."""

    asked: tuple[str, ...] = ()
    """Clients to be asked in the next round whosever turn it is."""
    second: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    """The second global model; empty until there is one."""
    memory: Memory = field(default_factory=dict)
    """What the server's optimizer remembers of it."""
    sides: Mapping[str, int] = field(default_factory=dict)
    """1 for each client that has the second model; all others have the first."""
    trials: Mapping[str, float] = field(default_factory=dict)
    """The loss before it changed, of each client that has changed and not yet answered since."""

    def first(self) -> tuple[Mapping[str, NDArray[np.float32]], Memory]:
        """Return the second model and its optimizer's memory, to be the first ones."""
        return self.second, self.memory

    def side(self, client: str) -> int:
        """Return which of the two models a client learns with."""
        return self.sides.get(client, 0) if self.second else 0


@dataclass(frozen=True)
class Did:
    """One thing the server did about a client; `model` is the one it has from now on."""

    client: str
    deed: Deed
    model: int


def with_asked(reactions: Reactions, chosen: Sequence[str], able: Container[str]) -> list[str]:
    """Return a round's clients, with those that are to be asked beside them if they are able, in order."""
    more = {client for client in reactions.asked if client in able}
    return sorted(more.union(chosen), key=client_order)


def react(
    config: ServerConfig,
    reactions: Reactions,
    model: Mapping[str, NDArray[np.float32]],
    replies: Iterable[Reply],
) -> tuple[Reactions, tuple[Did, ...]]:
    """Return what follows from a round's replies, given the first model after it, and what was done."""
    heard = [reply for reply in replies if reply.samples > 0]
    alarmed = [reply for reply in heard if reply.alarms]
    enough = bool(alarmed) and len(alarmed) >= config.drift_share * len(heard)
    if config.on_drift == "none":
        return reactions, ()
    if config.on_drift == "extra_round":
        asked = tuple(reply.client for reply in alarmed) if enough else ()
        return replace(reactions, asked=asked), tuple(Did(client, "asked", 0) for client in asked)
    sides, trials, done = dict(reactions.sides), dict(reactions.trials), []
    on_trial = set()
    for reply in heard:
        before = trials.pop(reply.client, None)
        if before is not None and reply.loss > before:
            sides[reply.client] = 1 - sides.get(reply.client, 0)
            done.append(Did(reply.client, "returned", sides[reply.client]))
            on_trial.add(reply.client)
    moving = [reply for reply in alarmed if enough and reply.client not in on_trial]
    second = reactions.second
    forks = bool(moving) and not second
    if forks:
        second = {name: tensor.copy() for name, tensor in model.items()}
    for reply in moving:
        sides[reply.client] = 1 - sides.get(reply.client, 0)
        done.append(Did(reply.client, "forked" if forks else "moved", sides[reply.client]))
        if not forks:
            trials[reply.client] = reply.loss
    return replace(reactions, second=second, sides=sides, trials=trials), tuple(done)


def most_have_second(reactions: Reactions, clients: Sequence[str]) -> bool:
    """Tell whether most clients have the second model, so that it should be the first."""
    return 2 * sum(reactions.side(client) for client in clients) > len(clients)


def swapped(
    reactions: Reactions, model: Mapping[str, NDArray[np.float32]], memory: Memory, clients: Sequence[str]
) -> Reactions:
    """Return the state in which the first model, and its optimizer's memory, are the second."""
    sides = {client: 1 - reactions.side(client) for client in clients}
    return replace(reactions, second=model, memory=memory, sides=sides)
