"""What the server keeps between rounds, what it is set to do, and what a round made of it, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from phloem.compression.update import Schema, Update
from phloem.config import Experiment
from phloem.learning import Model
from phloem.masks import read_mask
from phloem.protocol import Reply
from phloem.server.allocate import Levels
from phloem.server.consensus import FARTHEST, Consensus
from phloem.server.distill.fusion import Distilled
from phloem.server.holdings import Holdings
from phloem.server.react import Did, Reactions
from phloem.server.sanitize import Limits, Sane
from phloem.server.strikes import Strikes
from phloem.sources import Federation
from phloem.submodel import Submodel


@dataclass(frozen=True)
class ServerState:
    """What the server keeps between rounds."""

    model: Update
    """The global model."""
    held: Holdings
    """What the clients hold of it."""
    acked: Mapping[str, int]
    """Sequence number of each known client's last applied update."""
    memory: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    """What the server's optimizer remembers: its moments."""
    strikes: Strikes = field(default_factory=Strikes)
    levels: Levels = field(default_factory=Levels)
    reactions: Reactions = field(default_factory=Reactions)
    network: Update = field(default_factory=dict)
    """The server's own network where logits travel and `model` is their consensus; else empty."""

    @property
    def deployed(self) -> Update:
        """What predicts: it is evaluated, saved and exported."""
        return self.network or self.model

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
    consensus: Consensus | None = None
    """Where logits travel: what everybody is asked about."""

    @property
    def shared(self) -> Schema:
        """The tensors of the global model, or of the consensus."""
        return self.learner.schema if self.consensus is None else self.consensus.schema

    def part(self, held: Holdings, client: str) -> Submodel | None:
        """Return which part of the network a client has; None for all of it."""
        mask = held.mask(client)
        return read_mask(mask, self.learner.layout) if mask else None

    def network(self, part: Submodel | None) -> Model:
        """Return the model that a part of the network is; the whole one for None."""
        return self.learner if part is None else self.learner.part(part)

    def schema(self, held: Holdings, client: str) -> Schema:
        """Return the tensors that a client sends and is sent."""
        part = self.part(held, client)
        return self.shared if part is None else part.schema

    @property
    def limits(self) -> Limits:
        """What a reply may ask for at most."""
        server = self.experiment.server
        most = server.max_change if self.consensus is None else min(server.max_change, FARTHEST)
        return Limits(server.max_samples, most, self.federation.classes)


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
