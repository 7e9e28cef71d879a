"""One device's stream, from its first word to its last.

    certificate ─> place ─> Hello ─> Welcome ─┬─> tasks, as they are posted
                                              └─< answers, each taken once
Whoever is refused is told why; everybody else is served meanwhile.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NoReturn

import grpc

from phloem.errors import ProtocolError
from phloem.link.meter import Meter
from phloem.link.stream import (
    MOST_HEAD_BYTES,
    MOST_PROBE_BYTES,
    MOST_SKEW_S,
    PROTOCOL,
    Deflater,
    Inflater,
    parse,
)
from phloem.proto import link_pb2
from phloem.server.link.mailbox import Mailbox, Parcel, Verdict
from phloem.server.link.registry import Place

MOST_PROBES = 16
RENEWAL_S = 3000.0
"""How often a device may ask for a new certificate; it asks once an hour at most, by its own clock."""

Context = Any
"""gRPC's ServicerContext of a stream of bytes both ways; gRPC ships no types for it."""


class Replaced(Exception):
    """Another stream of the same device has taken over."""


class Dismissed(Exception):
    """The run goes on without this device; the text says why."""


@dataclass(frozen=True)
class Arrival:
    """An answer as it came, and what its exchange cost at the socket; None where nobody can count."""

    node: int
    id: int
    head: bytes
    data: tuple[bytes, ...]
    wire_up: int | None
    wire_down: int | None


@dataclass(frozen=True)
class Terms:
    """What a server tells every device, and what it asks of it."""

    run: int
    settings_id: int
    settings: Callable[[Place, str], bytes]
    """What a device in a place, of a version, has to know."""
    most_bytes: int


Letter = Parcel | link_pb2.Farewell | link_pb2.Renewed | link_pb2.Probed | Dismissed
"""What a session sends, or how it ends."""


@dataclass
class Seat:
    """A place as the running server knows it: its mailbox, and the stream that serves it now."""

    place: Place
    mailbox: Mailbox
    session: Session | None = None
    away_since: float = field(default_factory=time.monotonic)
    reborn: bool = False
    """Whether the device lost its journal since anybody asked."""

    def post(self, parcel: Parcel) -> bool:
        """Keep a task, and send it at once if the device is there."""
        if not self.mailbox.post(parcel):
            return False
        if self.session is not None:
            self.session.outbox.put_nowait(parcel)
        return True


@dataclass
class Session:
    """A stream with a device that was let in."""

    seat: Seat
    context: Context
    on_arrival: Callable[[Arrival], None]
    meter: Meter
    counts: Counter[str]
    renew: Callable[[Place, bytes], bytes]
    """Returns a new certificate for the device in a place, given its request."""
    outbox: asyncio.Queue[Letter] = field(default_factory=asyncio.Queue)
    replaced: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the same device has come in again."""

    async def serve(self, hello: link_pb2.Hello, terms: Terms) -> None:
        """Welcome the device, then carry tasks and answers until either side ends."""
        mailbox = self.seat.mailbox
        ready = {n for n in hello.ready if n in mailbox.waiting} if hello.run == terms.run else set()
        for parcel in mailbox.to_hand_out(ready):
            self.outbox.put_nowait(parcel)
        welcome = link_pb2.Welcome(
            run=terms.run,
            node=self.seat.place.node,
            settings_id=terms.settings_id,
            settings=b""
            if hello.settings == terms.settings_id
            else terms.settings(self.seat.place, hello.version),
            most_bytes=terms.most_bytes,
            wanted=sorted(ready),
        )
        await self.context.write(link_pb2.Down(welcome=welcome).SerializeToString())
        tasks = [asyncio.create_task(w) for w in (self._send(), self._receive(), self._give_way())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _send(self) -> None:
        deflater, mailbox = Deflater(), self.seat.mailbox
        while True:
            parcel = await self.outbox.get()
            if isinstance(parcel, Dismissed):
                raise parcel
            if isinstance(parcel, link_pb2.Farewell):
                await self.context.write(link_pb2.Down(farewell=parcel).SerializeToString())
                return
            if isinstance(parcel, link_pb2.Renewed):
                await self.context.write(link_pb2.Down(renewed=parcel).SerializeToString())
                continue
            if isinstance(parcel, link_pb2.Probed):
                await self.context.write(link_pb2.Down(probed=parcel).SerializeToString())
                continue
            if parcel.id not in mailbox.waiting:
                continue  # withdrawn before its turn
            task = link_pb2.Task(
                id=parcel.id,
                behind=mailbox.behind(parcel.id),
                head=deflater.squeeze(parcel.head),
                data=parcel.data,
            )
            await self.context.write(link_pb2.Down(task=task).SerializeToString())

    async def _give_way(self) -> None:
        await self.replaced.wait()
        raise Replaced("This device has come in again on another connection, which now serves it.")

    async def _receive(self) -> None:
        inflater, meter, renewed_at, probes = Inflater(), self.meter, float("-inf"), 0
        while (raw := await self.context.read()) is not grpc.aio.EOF:
            up = link_pb2.Up()
            parse(up, raw)
            if up.WhichOneof("kind") == "probe":
                probes += 1
                self.outbox.put_nowait(_probed(up.probe, probes))
                continue
            if up.WhichOneof("kind") == "renewal":
                if time.monotonic() < renewed_at + RENEWAL_S:
                    raise ProtocolError(
                        f"A certificate should be renewed once in {RENEWAL_S:g} s. Found another Renewal."
                    )
                renewed_at = time.monotonic()
                certificate = self.renew(self.seat.place, up.renewal.request)
                self.outbox.put_nowait(link_pb2.Renewed(certificate=certificate))
                continue
            if up.WhichOneof("kind") != "answer":
                raise ProtocolError("After its Hello a device should send answers. Found something else.")
            answer = up.answer
            head = inflater.expand(answer.head)
            verdict = self.seat.mailbox.answer(answer.id)
            if verdict is Verdict.NEVER_ASKED:
                raise ProtocolError(f"An answer should be to a task that was sent. Found number {answer.id}.")
            if verdict is Verdict.AGAIN:
                self.counts["answers_again"] += 1
            if verdict is Verdict.WANTED:
                up_bytes, down_bytes = meter.read() if meter.works else (None, None)
                self.counts["wire_up_bytes"] += up_bytes or 0
                self.counts["wire_down_bytes"] += down_bytes or 0
                data = tuple(answer.data)
                self.on_arrival(Arrival(self.seat.place.node, answer.id, head, data, up_bytes, down_bytes))


def _probed(probe: link_pb2.Probe, number: int) -> link_pb2.Probed:
    """Return the answer to a probe; a device cannot have the server send without end.

    Raises:
        ProtocolError: too much is sent or wanted, or too often.
    """
    most = max(len(probe.filler), probe.wanted)
    if most > MOST_PROBE_BYTES or number > MOST_PROBES:
        raise ProtocolError(
            f"A stream should have at most {MOST_PROBES} probes of {MOST_PROBE_BYTES} bytes each way. Found "
            f"number {number}, of {most} bytes."
        )
    return link_pb2.Probed(filler=os.urandom(probe.wanted))


async def read_hello(context: Context, patience_s: float) -> link_pb2.Hello:
    """Return the first message of a stream.

    Raises:
        TimeoutError: it did not come in time; on a bad network an honest one may not.
        ProtocolError: it is something else, or comes from another protocol or time.
    """
    try:
        raw = await asyncio.wait_for(context.read(), patience_s)
    except TimeoutError:
        raise TimeoutError(f"A Hello should come within {patience_s:g} s. Found silence.") from None
    up, raw = link_pb2.Up(), b"" if raw is grpc.aio.EOF else raw
    if len(raw) > MOST_HEAD_BYTES:  # it is read before anybody knows who speaks
        raise ProtocolError(f"A Hello should have at most {MOST_HEAD_BYTES} bytes. Found {len(raw)}.")
    parse(up, raw)
    if up.WhichOneof("kind") != "hello":
        raise ProtocolError("A stream should begin with a Hello. Found something else.")
    if up.hello.protocol != PROTOCOL:
        raise ProtocolError(
            f"Device and server should speak one link protocol. Found {up.hello.protocol} on the device, "
            f"{PROTOCOL} on the server: install the same version of phloem on both."
        )
    check_clock(up.hello.clock)
    return up.hello


def check_clock(clock: float) -> None:
    """Refuse a device whose clock is wrong.

    Raises:
        ProtocolError: it is more than `MOST_SKEW_S` away.
    """
    skew = clock - time.time()
    if not abs(skew) <= MOST_SKEW_S:
        raise ProtocolError(
            f"The device's clock should be within {MOST_SKEW_S:g} s of the server's. Found it {skew:+.0f} s "
            "off: set it (timedatectl set-ntp true), then join again."
        )


async def refuse(
    context: Context, error: Exception, *, code: Any = grpc.StatusCode.FAILED_PRECONDITION
) -> NoReturn:
    """End a stream and say why."""
    with suppress(asyncio.TimeoutError):
        await context.abort(code, str(error))
    raise AssertionError("abort raises")
