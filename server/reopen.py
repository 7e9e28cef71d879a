"""A run's folder, opened by one process at a time: for a new run, or for one that goes on."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from phloem.config import Experiment
from phloem.errors import ConfigError, RunError
from phloem.ledger import Ledger
from phloem.server.checkpoint import FOLDER, Checkpoint, newest
from phloem.summary import LEDGER_NAME

try:
    import fcntl
except ImportError:  # no such locks on this system
    fcntl = None  # type: ignore[assignment]


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Keep every other process from running in this folder; the system gives it free when this one ends.

    Raises:
        ConfigError: a run is going on there.
    """
    if fcntl is None:
        yield
        return
    handle = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"The run's folder {str(directory)!r} should be free. Found a run that goes on in it. "
                "Wait for it, or name another folder."
            ) from None
        except OSError:
            pass  # a file system without locks
        yield
    finally:
        os.close(handle)


@contextmanager
def open_ledger(
    directory: Path, experiment: Experiment, facts: Mapping[str, str], *, resume: bool
) -> Iterator[tuple[Ledger, Checkpoint | None]]:
    """Open the ledger of a new run; or that of one that goes on, back at its checkpoint, which comes with it.

    Raises:
        ConfigError: the run is finished, or has no checkpoint, or one of other settings.
        RunError: what is there is damaged.
    """
    path = directory / LEDGER_NAME
    if not (resume and path.exists()):
        with Ledger.create(path, facts) as ledger:
            yield ledger, None
        return
    last, found = last_round(path), newest(directory / FOLDER, experiment)
    if found is None and last > 0:
        raise ConfigError(
            f"The run in {str(directory)!r} should have a checkpoint to go on from. Found none, and {last} "
            "finished rounds: was it made with `server.checkpoint_every = 0`? Make it again elsewhere."
        )
    if found is not None and last < found.round:
        raise RunError(
            f"The ledger in {str(directory)!r} should hold the {found.round} rounds of the checkpoint beside "
            f"it. Found {last}. Put the ledger back that belongs to it."
        )
    with Ledger.resume(path, -1 if found is None else found.round) as ledger:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        for key, value in {**facts, "resumed_at": now}.items():
            if key != "started_at":
                ledger.fact(key, value)
        ledger.commit()
        yield ledger, found


def last_round(ledger_path: Path) -> int:
    """Return the last round of a ledger whose run may go on.

    Raises:
        ConfigError: the run is finished.
    """
    with Ledger.open(ledger_path) as ledger:
        if ledger.facts().get("state") == "finished":
            raise ConfigError(
                "A run that goes on should have been broken off. Found one that is finished in "
                f"{str(ledger_path.parent)!r}. See it with `phloem report`."
            )
        [(last,)] = ledger.query("SELECT coalesce(max(round), 0) FROM round")
    return int(last)
