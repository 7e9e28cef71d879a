"""A server and its devices over real sockets in one process, for the tests of the link."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from phloem.client.journal import Journal
from phloem.client.link.enrol import Membership, enrol
from phloem.client.link.node import Node
from phloem.client.link.session import Device, Patience
from phloem.config import LinkConfig, Scalar
from phloem.link.pages import Address
from phloem.server.link.authority import Authority, open_authority
from phloem.server.link.enrol import Enrolment
from phloem.server.link.grid import LinkGrid
from phloem.server.link.registry import Registry
from phloem.server.link.service import LinkService

HERE = "127.0.0.1"
QUICK = Patience(first_s=0.02, most_s=0.1, stay=False)
PATIENCE_S = 20.0


def counting_app() -> ClientApp:
    """An app that counts in its Context how often it was asked, and says what it was asked."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        before = context.state.config_records.get("kept", ConfigRecord({"count": 0}))["count"]
        assert isinstance(before, int)
        context.state["kept"] = ConfigRecord({"count": before + 1})
        asked = message.content.config_records["asked"]["number"]
        return Message(
            RecordDict({"said": ConfigRecord({"count": before + 1, "number": asked})}), reply_to=message
        )

    return app


@dataclass
class Link:
    """A server that listens, and whoever joined it."""

    folder: Path
    authority: Authority
    registry: Registry
    service: LinkService
    grid: LinkGrid
    enrolment: Enrolment
    port: int
    enrolment_port: int
    running: list[Future[None]] = field(default_factory=list)

    def token(self, place: int) -> str:
        """A new token."""
        return self.enrolment.token(HERE, self.enrolment_port, place)

    def member(self, place: int) -> Membership:
        """A device that has joined; its folder is `device-PLACE`."""
        return enrol(self.token(place), self.folder / f"device-{place}", f"device {place}")

    def start(
        self, place: int, app: Callable[[Message, Context], Message], member: Membership | None = None
    ) -> Future[None]:
        """Run a device beside the test until it is told farewell.

        In the server's own event loop: gRPC wants one for a process, as a server or a device alone has.
        """
        found = member or self.member(place)

        async def run() -> None:
            with Journal(self.folder / f"device-{place}" / "journal.sqlite") as journal:
                await Device(Node(app, journal), found, QUICK).attend()

        self.running.append(asyncio.run_coroutine_threadsafe(run(), self.service.loop))
        return self.running[-1]

    async def devices_end(self) -> None:
        """Wait until every device has gone."""
        await asyncio.wait_for(asyncio.gather(*map(asyncio.wrap_future, self.running)), PATIENCE_S)

    def wait_for(self, devices: int) -> list[int]:
        """Return the nodes once so many are there."""
        until(lambda: len(self.grid.get_node_ids()) == devices)
        return self.grid.get_node_ids()

    def ask(self, number: int, timeout: float = PATIENCE_S) -> list[Message]:
        """Ask every device that is there."""
        return self.ask_these(self.grid.get_node_ids(), number, timeout)

    def ask_these(self, nodes: Iterable[int], number: int, timeout: float = PATIENCE_S) -> list[Message]:
        """Ask these devices, there or not."""
        return self.grid.send_and_receive([_question(node, number) for node in nodes], timeout=timeout)

    def push(self, number: int) -> list[str]:
        """Leave a question for every device that has a place."""
        return self.grid.push_messages([_question(place.node, number) for place in self.registry.places()])


def _question(node: int, number: int) -> Message:
    return Message(RecordDict({"asked": ConfigRecord({"number": number})}), node, "train")


@contextmanager
def link(
    folder: Path,
    config: LinkConfig | None = None,
    run_config: Mapping[str, Scalar] | None = None,
    clients: int = 2,
) -> Iterator[Link]:
    """Listen on loopback; at the end devices are told that the run is over."""
    state = folder / "server"
    authority = open_authority(state)
    registry = Registry(state / "registry.sqlite")
    service = LinkService(authority, registry, config or LinkConfig())
    grid = LinkGrid(service, run_config or {}, clients, registry.run_id(folder / "run"))
    port = service.listen(Address(HERE, 0))
    enrolment = Enrolment(service)
    enrolment_port = enrolment.listen(Address(HERE, 0), port)
    made = Link(folder, authority, registry, service, grid, enrolment, port, enrolment_port)
    service.at_close(made.devices_end)
    try:
        yield made
    finally:
        service.close(finished=True, reason="The test is over.")
        registry.close()


def until(holds: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
    """Return when something holds; fail where it never does."""
    deadline = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.01)
