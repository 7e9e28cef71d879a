"""The link's server: a gRPC service in a thread of its own, and the seats of its devices.

Everything here happens in that thread's event loop; other threads come in through `call`.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import grpc

from phloem.errors import ConfigError, ProtocolError, RunError
from phloem.link.meter import Meter
from phloem.link.pages import Address
from phloem.link.stream import METHOD
from phloem.logs import note
from phloem.proto import link_pb2
from phloem.server.link.authority import Authority, fingerprint_of, server_identity
from phloem.server.link.mailbox import Mailbox, Parcel
from phloem.server.link.registry import Place, Registry
from phloem.server.link.session import (
    Arrival,
    Context,
    Dismissed,
    Replaced,
    Seat,
    Session,
    Terms,
    read_hello,
    refuse,
)
from phloem.settings.link import LinkConfig

T = TypeVar("T")
DRAIN_S = 5.0


class LinkService:
    """Devices come in through mutual TLS, get tasks, give answers."""

    def __init__(self, authority: Authority, registry: Registry, config: LinkConfig) -> None:
        """Prepare to listen."""
        self.authority, self.registry, self.config = authority, registry, config
        self._identity = server_identity(authority)
        self._seats: dict[int, Seat] = {}
        self._terms: Terms | None = None
        self._on_arrival: Callable[[Arrival], None] = lambda arrival: None
        self.counts: Counter[str] = Counter()
        self.loop = asyncio.new_event_loop()
        """gRPC wants one event loop for a process."""
        self._thread = threading.Thread(target=self.loop.run_forever, name="phloem-link", daemon=True)
        self._thread.start()
        self._server: Any = None
        self._closers: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self._farewell: link_pb2.Farewell | None = None
        """What every device is told from now on: the service closes."""

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` in the service's loop and return what it returns."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def begin(self, terms: Terms, on_arrival: Callable[[Arrival], None]) -> None:
        """Say what devices are told, and who gets their answers; before `listen`."""
        self._terms, self._on_arrival = terms, on_arrival
        for place in self.registry.places():
            self.seat(place)

    def listen(self, address: Address) -> int:
        """Open the port for devices and return it.

        Raises:
            ConfigError: it cannot be opened.
        """
        return self.call(self._listen(address))

    def at_close(self, closer: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Add something else of this loop to be closed."""
        self._closers.append(closer)

    def close(self, *, finished: bool, reason: str) -> None:
        """Say farewell to every device, then stop."""
        self.call(self._close(finished, reason))
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def farewell(self, node: int, *, finished: bool, reason: str) -> None:
        """End the stream of one device; unless `finished`, it comes back."""

        async def work() -> None:
            session = self._seats[node].session
            if session is not None:
                session.outbox.put_nowait(link_pb2.Farewell(finished=finished, reason=reason))

        self.call(work())

    def dismiss(self, node: int, reason: str) -> None:
        """End the stream of one device, which then does not come back by itself."""

        async def work() -> None:
            session = self._seats[node].session if node in self._seats else None
            if session is not None:
                session.outbox.put_nowait(Dismissed(reason))

        self.call(work())

    def connected(self) -> list[int]:
        """Return the nodes that are there now."""
        return [node for node, seat in list(self._seats.items()) if seat.session is not None]

    def joined(self) -> int:
        """Return how many devices have a place."""
        return len(self._seats)

    def knows(self, node: int) -> bool:
        """Tell whether a node has a place here."""
        return node in self._seats

    def away_s(self, node: int) -> float:
        """Return for how long a node with a place has been away; 0 if it is there."""
        seat = self._seats[node]
        return 0.0 if seat.session is not None else time.monotonic() - seat.away_since

    def wire(self, node: int) -> tuple[int, int]:
        """Return the bytes up and down of a node's present connection, zeros where nobody can count."""
        session = self._seats[node].session
        return (0, 0) if session is None else session.meter.totals() or (0, 0)

    def reborn(self) -> list[int]:
        """Return the nodes that lost what they kept since the last call."""
        found = [node for node, seat in list(self._seats.items()) if seat.reborn]
        for node in found:
            self._seats[node].reborn = False
        return found

    def post(self, letters: Sequence[tuple[int, Parcel]]) -> list[bool]:
        """Leave tasks for nodes, there or away; False for one whose mailbox is full or that is unknown."""

        async def work() -> list[bool]:
            return [node in self._seats and self._seats[node].post(parcel) for node, parcel in letters]

        return self.call(work())

    def seat(self, place: Place) -> Seat:
        """Return the seat of a place; a new one if it has none yet."""
        return self._seats.setdefault(place.node, Seat(place, Mailbox(self.config.most_waiting)))

    def withdraw(self, letters: Sequence[tuple[int, int]]) -> None:
        """Stop waiting for the answers to these (node, task)."""

        async def work() -> None:
            for node, number in letters:
                if node in self._seats:
                    self._seats[node].mailbox.withdraw(number)

        self.call(work())

    async def _listen(self, address: Address) -> int:
        key, certificate = self._identity
        credentials = grpc.ssl_server_credentials([(key, certificate)], self.authority.pem, True)
        server = grpc.aio.server(options=_options(self.config), maximum_concurrent_rpcs=None)
        handler = grpc.stream_stream_rpc_method_handler(self._connect)
        service, method = METHOD[1:].split("/")
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
        try:
            port = server.add_secure_port(f"{address.host}:{address.port}", credentials)
        except RuntimeError as error:
            raise ConfigError(
                f"The link should listen on {address.host}:{address.port}. Found: {error}. "
                "Name another address with --listen, or stop who has this one."
            ) from None
        await server.start()
        self._server = server
        return int(port)

    async def _close(self, finished: bool, reason: str) -> None:
        self._farewell = link_pb2.Farewell(finished=finished, reason=reason)
        for seat in self._seats.values():
            if seat.session is not None:
                seat.session.outbox.put_nowait(self._farewell)
        for closer in self._closers:
            await closer()
        if self._server is not None:
            deadline = time.monotonic() + DRAIN_S
            while any(seat.session for seat in self._seats.values()) and time.monotonic() < deadline:
                await asyncio.sleep(0.01)
            await self._server.stop(grace=0.2)

    async def _connect(self, _: object, context: Context) -> None:
        session = None
        self.counts["streams"] += 1
        try:
            # Its first word is read before a stranger is sent away, or the text would not reach it.
            hello = await read_hello(context, self.config.handshake_s)
            seat = self._admit(context)
            assert self._terms is not None
            session = self._seat(seat, hello, context)
            place = seat.place
            note(
                "connected",
                f"Device {place.place} is here.",
                quiet=True,
                client=str(place.place),
                name=place.name,
                address=context.peer(),
            )
            await session.serve(hello, self._terms)
        except (ProtocolError, Dismissed) as error:
            await self._refuse(context, error, "refused")
        except TimeoutError as error:
            await self._refuse(context, error, "silent", grpc.StatusCode.DEADLINE_EXCEEDED)
        except Replaced as error:
            await self._refuse(context, error, "superseded", grpc.StatusCode.ABORTED)
        except RunError as error:  # of the server's own making: the device tries again
            await self._refuse(context, error, "faults", grpc.StatusCode.UNAVAILABLE)
        except PermissionError as error:
            await self._refuse(context, error, "refused", grpc.StatusCode.PERMISSION_DENIED)
        finally:
            if session is not None:
                client = str(session.seat.place.place)
                note("disconnected", f"Device {client} has gone.", quiet=True, client=client)
                if session.seat.session is session:
                    session.seat.session, session.seat.away_since = None, time.monotonic()

    async def _refuse(
        self,
        context: Context,
        error: Exception,
        count: str,
        code: Any = grpc.StatusCode.FAILED_PRECONDITION,
    ) -> None:
        self.counts[count] += 1
        note(count, str(error), quiet=True, reason=str(error), address=context.peer())
        await refuse(context, error, code=code)

    def _admit(self, context: Context) -> Seat:
        [certificate] = context.auth_context()["x509_pem_cert"]
        place = self.registry.admit(fingerprint_of(certificate))
        if place is None:
            raise PermissionError(
                "This device's key should be one that joined here and was not expelled. It is not "
                "registered: join again with a new token."
            )
        return self.seat(place)

    def _seat(self, seat: Seat, hello: link_pb2.Hello, context: Context) -> Session:
        if hello.epoch != seat.place.epoch:
            seat.reborn = bool(seat.place.epoch)
            self.registry.note_epoch(seat.place.place, hello.epoch)
            seat.place = replace(seat.place, epoch=hello.epoch)
        if (old := seat.session) is not None:
            # A device whose network changed comes back before its old connection is known to be dead.
            self.counts["replaced"] += 1
            old.replaced.set()
        meter = Meter(context.peer())
        seat.session = Session(seat, context, self._on_arrival, meter, self.counts, self._renew)
        if self._farewell is not None:  # it comes back from a connection that was cut under the farewell
            seat.session.outbox.put_nowait(self._farewell)
        return seat.session

    def _renew(self, place: Place, request: bytes) -> bytes:
        certificate, fingerprint = self.authority.issue_device(request, self.config.certificate_days)
        found = self.registry.admit(fingerprint)
        if found is None or found.place != place.place:
            raise ProtocolError("A certificate should be renewed for the key that has it. Found another key.")
        self.registry.renew(place.place, certificate)
        self.counts["renewed"] += 1
        return certificate


def _options(config: LinkConfig) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", config.most_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_metadata_size", 4096),
        ("grpc.absolute_max_metadata_size", 8192),
        ("grpc.max_concurrent_streams", 1),
        ("grpc.keepalive_time_ms", int(config.keepalive_s * 1250)),  # the device's turn comes first
        # Also how long TCP tries to deliver. A device that nothing reaches does not know that its connection
        # was given up here, and would notice at its next keepalive: better to go on trying for a while.
        ("grpc.keepalive_timeout_ms", int(max(20.0, config.absence_s) * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 5000),
        ("grpc.http2.bdp_probe", 0),  # each probe is 34 bytes and an answer
        ("grpc.server_handshake_timeout_ms", int(config.handshake_s * 1000)),
        ("grpc.so_reuseport", 0),  # two servers on one port would share its devices
    ]
