"""A mod that keeps a client's state on its own disk; Flower's SuperNode has it in memory, for one run only.

    flower-supernode --node-config 'partition-id=0 state="device-0"' ...

With it a residual outlives a SuperNode that is killed, and a run that is broken off and resumed as another
one: what is kept is found again by the run's settings, not by Flower's number of it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from flwr.app import Context, Message
from flwr.clientapp.typing import ClientAppCallable

from phloem.client.journal import Journal
from phloem.client.link.node import pack, unpack
from phloem.config import Scalar

FOLDER_KEY = "state"
"""The key of the node's config that names the folder; without it a Context is left as it is."""

_NOT_ABOUT_THE_RUN = ("run.resume",)


def durable(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Give the app the state its journal has, and write what it leaves before the reply goes out.

    Raises:
        ConfigError: another process has the folder, or it cannot be written.
        RunError: the state could not be written; it is as it was before the message.
    """
    folder = context.node_config.get(FOLDER_KEY)
    if not isinstance(folder, str) or not folder:
        return call_next(message, context)
    run = _number(context.run_config)
    with Journal(Path(folder) / "journal.sqlite") as journal:
        for raw in journal.state(run).values():
            context.state.update(unpack(raw))
        reply = call_next(message, context)
        if not reply.has_error():
            state = {name: pack(name, record) for name, record in context.state.items()}
            journal.commit(run, 0, state, b"")
    return reply


def _number(run_config: dict[str, Scalar]) -> int:
    """Return what stands for a run in a journal: the same for a run that is resumed as another one."""
    settings = sorted((key, value) for key, value in run_config.items() if key not in _NOT_ABOUT_THE_RUN)
    return int.from_bytes(hashlib.sha256(repr(settings).encode()).digest()[:7], "little")
