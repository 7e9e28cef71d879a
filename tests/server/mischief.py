"""A carrier whose replies somebody has had in hand, for tests of what the server does then."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from flwr.app import Error, Message

from phloem.client.app import app
from phloem.config import Experiment
from phloem.ledger import Ledger
from phloem.server.app import serve
from phloem.server.state import ServerState
from phloem.simulation.grid import LocalGrid

EXPERIMENT = Experiment().with_values(
    {
        "data.clients": 3,
        "model.hidden": 4,
        "client.epochs": 1,
        "server.clients_per_round": 0,
        "run.rounds": 3,
    }
)
Mischief = Callable[[int, list[Message], list[Message]], list[Message]]
"""(round, what was sent, the honest replies) -> what arrives; round 0 is the greeting."""


class Mischievous(LocalGrid):
    """The in-process carrier, whose replies somebody has had in hand."""

    def __init__(self, mischief: Mischief, experiment: Experiment) -> None:
        super().__init__(app, experiment.data.clients, experiment.to_flat())
        self.mischief, self.number = mischief, -1

    def send_and_receive(self, messages: object, *, timeout: float | None = None) -> list[Message]:
        """Deliver, and let the mischief choose what comes back."""
        sent = list(messages)  # type: ignore[call-overload]
        if not sent:
            return []
        self.number += 1
        return self.mischief(self.number, sent, super().send_and_receive(sent))


def run(mischief: Mischief, folder: Path, experiment: Experiment = EXPERIMENT) -> tuple[ServerState, Ledger]:
    state = serve(Mischievous(mischief, experiment), experiment, folder)
    return state, Ledger.open(folder / "run.sqlite")


def empty(reply: Message) -> None:
    reply.__dict__["_content"] = None


def long_error(reply: Message) -> None:
    reply.__dict__.update(_content=None, _error=Error(1, "\x1b]0;owned\x07" + "x" * 100_000))
