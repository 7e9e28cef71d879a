"""An experiment over the link: opens it, lets devices join, runs the ServerApp, says farewell."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from phloem.config import Experiment
from phloem.errors import ConfigError
from phloem.link.pages import Address
from phloem.server.app import prepare, serve
from phloem.server.link.authority import open_authority, write_secret
from phloem.server.link.enrol import Enrolment
from phloem.server.link.grid import LinkGrid
from phloem.server.link.metrics import Metrics
from phloem.server.link.registry import Registry
from phloem.server.link.service import LinkService
from phloem.server.link.tally import Tally, tally
from phloem.server.state import ServerState
from phloem.server.strategy import RoundReport
from phloem.summary import LEDGER_NAME

POLL_S = 0.05
EVERYWHERE = ("0.0.0.0", "::")


@dataclass(frozen=True)
class Front:
    """Where a link stands: its folder, its port, and the host under which devices know it."""

    state: Path
    listen: Address
    host: str = ""
    replace: tuple[int, ...] = ()
    """Places whose device is to be another one from now on."""
    tokens: Path | None = None
    """Where a file for each token is written, `token-PLACE`; the state folder if not said."""
    metrics: Address | None = None

    @property
    def name(self) -> str:
        """The host that a token tells."""
        if self.host:
            return self.host
        return socket.getfqdn() if self.listen.host in EVERYWHERE else self.listen.host


@dataclass(frozen=True)
class Listener:
    """Who hears how a run over the link goes."""

    on_open: Callable[[LinkService], None] = lambda service: None
    on_token: Callable[[int, str, Path], None] = lambda place, token, file: None
    on_wait: Callable[[int, int], None] = lambda here, wanted: None
    on_round: Callable[[RoundReport, Tally], None] = lambda report, found: None


def serve_link(
    experiment: Experiment,
    directory: Path,
    front: Front,
    listener: Listener,
    *,
    resume: bool = False,
    facts: Mapping[str, str] | None = None,
) -> ServerState:
    """Run `experiment` on the devices that join, and leave the run in `directory`.

    Waits for the devices for as long as it takes; how long a round waits for them is the experiment's.

    Raises:
        ConfigError: a setting that cannot work, or a port or folder that cannot be had.
        RunError: the run could not go on.
    """
    logging.getLogger("flwr").setLevel(logging.WARNING)  # its lines of every round are not this server's
    clients = len(prepare(experiment).federation.shares)
    authority = open_authority(front.state)
    registry = Registry(front.state / "registry.sqlite")
    service = LinkService(authority, registry, experiment.link)
    finished, reason = False, "The server has stopped for now."
    try:
        run_id, known = registry.run_id(directory), Experiment().to_flat()
        grid = LinkGrid(service, experiment.to_flat(), clients, run_id, defaults=known)
        metrics = Metrics(service)
        if front.metrics is not None:
            metrics.listen(front.metrics)
        _open(service, front, clients, listener)
        _wait(service, experiment.server.min_clients or clients, listener)

        def on_round(report: RoundReport) -> None:
            if report.round == 1:  # what the greeting came to was committed before the first round
                metrics.count(tally(directory / LEDGER_NAME, 0))
            found = tally(directory / LEDGER_NAME, report.round)
            metrics.hear(report, found)
            listener.on_round(report, found)

        state = serve(grid, experiment, directory, facts=facts, on_round=on_round, resume=resume)
        finished, reason = True, "The run is over."
        return state
    finally:
        service.close(finished=finished, reason=reason)
        registry.close()


def _open(service: LinkService, front: Front, clients: int, listener: Listener) -> None:
    for place in front.replace:  # before its device can connect
        if not 0 <= place < clients:
            raise ConfigError(
                f"A place should be in 0..{clients - 1}. Found {place}. Name one with --replace."
            )
        service.registry.expel(place)
    port = service.listen(front.listen)
    enrolment = Enrolment(service)
    next_port = Address(front.listen.host, port + 1 if front.listen.port else 0)
    enrolment_port = enrolment.listen(next_port, port)
    listener.on_open(service)
    folder = front.tokens or front.state
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"Tokens should have a folder. Found: {error}. Name another with --tokens."
        ) from None
    taken = {place.place for place in service.registry.places()}
    for place in range(clients):
        file = folder / f"token-{place}"
        if place in taken:
            file.unlink(missing_ok=True)
            continue
        token = enrolment.token(front.name, enrolment_port, place)
        write_secret(file, f"{token}\n".encode())
        listener.on_token(place, token, file)


def _wait(service: LinkService, wanted: int, listener: Listener) -> None:
    here = -1
    while here < wanted:
        if (now := len(service.connected())) != here:
            here = now
            listener.on_wait(here, wanted)
        time.sleep(POLL_S)
