"""All that a run is made of, on disk: what a killed run goes on from, bit for bit.

    run folder: experiment.toml  run.sqlite  model.safetensors  checkpoint/

There is no state of a random generator to keep: every one derives from the run's seed, the round and what
it is for. The ledger's position is the round: its rows are committed before the round is saved, so what it
holds beyond the checkpoint is taken back. In a simulation, the clients are in the checkpoint as well;
clients on other carriers keep their own state.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from safetensors.numpy import save

from phloem.compression.update import Update
from phloem.config import Experiment
from phloem.errors import ConfigError, RunError
from phloem.server.slots import Slots, any_in, load, write_whole
from phloem.server.state import ServerState
from phloem.server.values import Parts, unpack

FOLDER = "checkpoint"
FORMAT = 1
CLIENT = "client-"


@runtime_checkable
class Clients(Protocol):
    """A carrier that has its clients' states at hand, as bytes that only it reads."""

    def changed_states(self) -> Mapping[str, bytes]:
        """Return the states that may have changed since this was last asked, by client."""
        ...

    def restore_states(self, states: Mapping[str, bytes]) -> None:
        """Put the clients back to where they were."""
        ...


class _Nobody:
    """The clients of a carrier that leaves their states to them."""

    def changed_states(self) -> Mapping[str, bytes]:
        return {}

    def restore_states(self, states: Mapping[str, bytes]) -> None:
        if states:
            raise ConfigError(
                f"A simulation should go on as one: its checkpoint holds the states of {len(states)} "
                "clients, and these have their own. Use `phloem resume`."
            )


NOBODY: Clients = _Nobody()


@dataclass(frozen=True)
class Checkpoint:
    """The end of a round."""

    round: int
    state: ServerState
    clients: Mapping[str, bytes]
    number: int
    """Its place in the order of saves."""


@dataclass
class Keeper:
    """Saves one round after another, each time only what changed."""

    experiment: Experiment
    clients: Clients
    slots: Slots
    _parts: Parts = field(default_factory=Parts, init=False)
    _clients: set[str] = field(default_factory=set, init=False)

    def save(self, state: ServerState, round_number: int) -> None:
        """Make the end of a round last; once this returns, the round may be acknowledged.

        Raises:
            RunError: the disk did not take it.
        """
        tree, new, names = self._parts.pack(state)
        changed = {CLIENT + client: data for client, data in self.clients.changed_states().items()}
        self._clients |= set(changed)
        facts = {
            "format": FORMAT,
            "round": round_number,
            "experiment": identity(self.experiment),
            "state": tree,
        }
        try:
            self.slots.save(facts, {**new, **changed}, names | self._clients)
        except OSError as error:
            raise RunError(
                f"Round {round_number} should be saved in {self.slots.folder}. Found: {error.strerror}. The "
                "rounds before it are there: free space, then go on with `phloem resume`."
            ) from error


def newest(folder: Path, experiment: Experiment) -> Checkpoint | None:
    """Return the last round whose checkpoint is whole, or None where none was ever saved.

    Raises:
        ConfigError: the checkpoint is of other settings or of another format.
        RunError: there were checkpoints, and all are damaged.
    """
    for saved in load(folder):
        if saved.facts["format"] != FORMAT:
            raise ConfigError(
                f"The checkpoint in {folder} should be of format {FORMAT}. Found {saved.facts['format']}. "
                "Go on with the phloem that wrote it."
            )
        if saved.facts["experiment"] != identity(experiment):
            raise ConfigError(
                f"A run should go on with the settings it began with. Found others than those of the "
                f"checkpoint in {folder}: put experiment.toml back as it was."
            )
        state = unpack(ServerState, saved.facts["state"], saved.parts)
        clients = {
            name.removeprefix(CLIENT): data for name, data in saved.parts.items() if name.startswith(CLIENT)
        }
        return Checkpoint(saved.facts["round"], state, clients, saved.number)
    if any_in(folder):
        raise RunError(
            f"The checkpoint in {folder} should be whole. Found damage in all that is there, so the run "
            "cannot go on. The ledger and the model beside it are those of its last round."
        )
    return None


def identity(experiment: Experiment) -> str:
    """Return a digest of all settings but for where the run is and whether it goes on."""
    same = experiment.with_values({"run.directory": "", "run.resume": False})
    return hashlib.sha256(same.to_toml().encode()).hexdigest()


def save_model(path: Path, model: Update, facts: Mapping[str, str]) -> None:
    """Write `model` to `path` (write, fsync, rename); `facts` become the file's metadata."""
    write_whole(
        path, save({name: np.asarray(tensor, order="C") for name, tensor in model.items()}, dict(facts))
    )
