"""A device's connection: kept up for as long as the device runs, and made anew whenever it breaks.

Everything that was done while it was broken waits in the journal, and goes out first.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import grpc

import phloem
from phloem.client.link.answers import Answers
from phloem.client.link.enrol import Membership
from phloem.client.link.metrics import Figures
from phloem.client.link.node import Node, Setup
from phloem.client.link.probe import Throughput, throughput
from phloem.client.link.renew import Renewal, check_not_expired
from phloem.errors import ProtocolError, RunError
from phloem.link.stream import METHOD, PROTOCOL, SERVER_NAME, Inflater, expand_alone, parse
from phloem.logs import note
from phloem.proto import link_pb2

FINAL = (
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNIMPLEMENTED,
)
"""What the server says to a device it will not serve as it is."""

DAY_S = 86_400.0
MOST_DOWN_BYTES = 2**31 - 1
MOST_NUMBER = 2**63 - 1
"""Of runs and tasks: SQLite's integers are signed."""

RUN, SETTINGS_ID, SETTINGS = "run", "settings_id", "settings"
"""What a journal remembers of the last Welcome."""


@dataclass(frozen=True)
class Patience:
    """How a device behaves when the server is not there; times in seconds."""

    first_s: float = 0.5
    most_s: float = 30.0
    keepalive_s: float = 240.0
    """An idle connection is tried after so long, which keeps a NAT's memory of it fresh; about 80 bytes."""
    stay: bool = True
    """Whether to wait for the next run after the end of one."""

    def wait_s(self, failures: int, rng: random.Random) -> float:
        """Return how long to wait after so many failures: doubling, and never all devices at once."""
        return min(self.most_s, self.first_s * 2.0 ** min(failures, 20)) * rng.uniform(0.5, 1.0)


@dataclass
class Device:
    """A node, the server it belongs to, and how it stays in touch."""

    node: Node
    membership: Membership
    patience: Patience = field(default_factory=Patience)
    threaded: bool = True
    """Whether tasks run beside the event loop; without, many light devices share one thread."""
    answers: Callable[[Node, Any, int, bool], Answers] = field(default_factory=lambda: Answers)
    """What makes the way up of a stream."""
    renewal: Renewal | None = None
    """What renews the certificate; None for a device that keeps the one it has."""
    figures: Figures = field(default_factory=Figures)
    _welcome: link_pb2.Welcome = field(default_factory=link_pb2.Welcome)

    async def attend(self) -> None:
        """Stay connected until the run is over, or for ever where the device is to stay.

        Raises:
            RunError: the server will not serve this device as it is; the text says why.
        """
        failures, rng = 0, random.Random(self.node.journal.epoch)
        while True:
            began = time.monotonic()
            why = "The server closed the stream."
            try:
                farewell = await self._once()
                if isinstance(farewell, link_pb2.Farewell):
                    if farewell.finished and not self.patience.stay:
                        return
                    why = farewell.reason
            except grpc.aio.AioRpcError as error:
                if error.code() in FINAL:
                    raise RunError(f"The server refused this device. {error.details()}") from None
                reason = str(error.details()).rsplit("Failed to connect to remote host: ")[-1]
                why = f"No connection to {self.membership.target}: {reason}."
            failures = 0 if time.monotonic() - began > self.patience.most_s else failures
            wait_s = self.patience.wait_s(failures, rng)
            failures += 1
            note("disconnected", f"{why} Trying again in {wait_s:.1f} s.", reason=why, wait_s=wait_s)
            await asyncio.sleep(wait_s)

    async def greet(self, *, probe: bool = False) -> Throughput | None:
        """Connect, be welcomed, and leave: what the server said is the node's from then on.

        With `probe`, return how fast the link is; None where the server does not know probes.

        Raises:
            RunError: the server will not serve this device as it is, or cannot be reached.
        """
        try:
            found = await self._once(look=True, probe=probe)
        except grpc.aio.AioRpcError as error:
            raise RunError(f"The server should welcome this device. {error.details()}") from None
        return found if isinstance(found, Throughput) else None

    async def _once(
        self, *, look: bool = False, probe: bool = False
    ) -> link_pb2.Farewell | Throughput | None:
        """Serve one stream to its end and return the server's farewell if there was one; or just `look`."""
        member = self.membership
        check_not_expired(member, time.time())
        credentials = grpc.ssl_channel_credentials(member.authority, member.key, member.certificate)
        options = _options(self.patience)
        async with grpc.aio.secure_channel(member.target, credentials, options=options) as channel:
            call = channel.stream_stream(METHOD)()
            try:
                await self._begin_stream(call)
                if look:
                    return await _probe(call) if probe else None
                return await self._serve(call)
            finally:
                call.cancel()

    async def _begin_stream(self, call: Any) -> None:
        journal = self.node.journal
        run = _number(journal.fact(RUN))
        hello = link_pb2.Hello(
            protocol=PROTOCOL,
            epoch=journal.epoch,
            run=run,
            settings=_number(journal.fact(SETTINGS_ID)),
            ready=journal.answered(run),
            clock=time.time(),
            version=phloem.__version__,
        )
        await call.write(link_pb2.Up(hello=hello).SerializeToString())
        down = await _read(call)
        if down is None or down.WhichOneof("kind") != "welcome":
            raise RunError("The server should begin with a Welcome. Found something else: is it phloem's?")
        self._begin(down.welcome)
        self._welcome = down.welcome

    async def _serve(self, call: Any) -> link_pb2.Farewell | None:
        welcome = self._welcome
        target = self.membership.target
        note("connected", f"Connected to {target}.", server=target, client=welcome.node)
        self.figures.begin(self.membership.port)
        answers = self.answers(self.node, call, welcome.most_bytes, self.threaded)
        renewing = asyncio.create_task(self._renew(answers))
        try:
            for number in welcome.wanted:
                await answers.send(number, b"", ())
            return await self._listen(call, answers)
        finally:
            renewing.cancel()
            answers.wake()
            self.figures.end()

    async def _listen(self, call: Any, answers: Answers) -> link_pb2.Farewell | None:
        inflater = Inflater()
        while (down := await _read(call)) is not None:
            kind = down.WhichOneof("kind")
            if kind == "farewell":
                return down.farewell
            if kind == "renewed" and self.renewal is not None:
                self.membership = self.renewal.accept(self.membership, down.renewed.certificate)
                self.figures.renew_at = self.membership.renew_at
                note("renewed", "This device's certificate was renewed.")
            if kind == "task":
                task = down.task
                _check_number(task.id)
                self.node.journal.settle(task.id - task.behind)
                await answers.send(task.id, inflater.expand(task.head), tuple(task.data))
        return None

    async def _renew(self, answers: Answers) -> None:
        while self.renewal is not None:
            while (wait_s := self.renewal.wait_s(self.membership)) > 0:
                await asyncio.sleep(min(wait_s, DAY_S))  # the clock may be set meanwhile
            request = link_pb2.Renewal(request=self.renewal.request())
            await answers.write(link_pb2.Up(renewal=request))

    def _begin(self, welcome: link_pb2.Welcome) -> None:
        journal = self.node.journal
        _check_number(welcome.run)
        if welcome.settings:
            journal.remember(SETTINGS, welcome.settings)
            journal.remember(SETTINGS_ID, welcome.settings_id.to_bytes(8, "little"))
        if welcome.run != _number(journal.fact(RUN)):
            journal.remember(RUN, welcome.run.to_bytes(8, "little"))
        settings = expand_alone(journal.fact(SETTINGS) or b"")
        self.node.begin(Setup(welcome.run, welcome.node, settings))


async def _probe(call: Any) -> Throughput | None:
    async def exchange(up: link_pb2.Up) -> None:
        await call.write(up.SerializeToString())
        while (down := await _read(call)) is not None and down.WhichOneof("kind") != "probed":
            pass  # tasks, which are left for the device that stays

    try:
        return await throughput(exchange)
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.FAILED_PRECONDITION:
            return None
        raise


async def _read(call: Any) -> link_pb2.Down | None:
    raw = await call.read()
    if raw is grpc.aio.EOF:
        status = await call.code()
        if status is not grpc.StatusCode.OK:
            raise grpc.aio.AioRpcError(
                status,
                await call.initial_metadata(),
                await call.trailing_metadata(),
                details=await call.details(),
            )
        return None
    down = link_pb2.Down()
    try:
        parse(down, raw)
    except ProtocolError as error:
        raise RunError(f"The server does not speak this link's protocol. {error}") from None
    return down


def _check_number(number: int) -> None:
    """Refuse what a journal cannot hold, before any of it is remembered."""
    if number > MOST_NUMBER:
        raise RunError(
            f"The server's numbers should be at most {MOST_NUMBER}. Found {number}: is it phloem's?"
        )


def _number(raw: bytes | None) -> int:
    return int.from_bytes(raw or b"", "little")


def _options(patience: Patience) -> list[tuple[str, Any]]:
    return [
        ("grpc.ssl_target_name_override", SERVER_NAME),
        ("grpc.default_authority", SERVER_NAME),
        ("grpc.max_receive_message_length", MOST_DOWN_BYTES),
        ("grpc.max_send_message_length", -1),
        ("grpc.keepalive_time_ms", int(patience.keepalive_s * 1000)),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.bdp_probe", 0),
        ("grpc.enable_retries", 0),  # the device's own way of trying again knows more
        ("grpc.enable_http_proxy", 0),  # nothing may come between the two ends of mutual TLS
        ("grpc.use_local_subchannel_pool", 1),
    ]
