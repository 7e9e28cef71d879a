"""The enrolment port: a device shows its token and a certificate request, and gets its certificate.

TLS with the server's certificate alone, for the device has none yet; one short exchange a connection.
"""

from __future__ import annotations

import asyncio
import ssl
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from phloem.errors import ConfigError, ProtocolError, RunError
from phloem.link.pages import Address
from phloem.link.stream import PROTOCOL, parse
from phloem.link.token import frame, frame_length, write_token
from phloem.logs import note
from phloem.proto import link_pb2
from phloem.server.link.authority import server_identity
from phloem.server.link.door import Door, address_of
from phloem.server.link.service import LinkService
from phloem.server.link.session import check_clock

MOST_AT_ONCE = 64


class Enrolment:
    """Turns tokens into certificates, in the service's event loop."""

    def __init__(self, service: LinkService) -> None:
        """Prepare to listen."""
        self._service = service
        self._link_port = 0
        self._inside = asyncio.Semaphore(MOST_AT_ONCE)
        self._context = _context(service)
        self.door = Door(service.config.joining_at_once, service.config.refusals_a_minute)

    def listen(self, address: Address, link_port: int) -> int:
        """Open the port and return it.

        Raises:
            ConfigError: it cannot be opened.
        """
        self._link_port = link_port
        return self._service.call(self._listen(address))

    def token(self, host: str, port: int, place: int) -> str:
        """Return a new token for a place; devices reach the enrolment port under `host` and `port`."""
        expires_at = time.time() + 3600 * self._service.config.token_hours
        secret = self._service.registry.make_token(place, expires_at)
        token = link_pb2.JoinToken(host=host, port=port, authority=self._service.authority.pin, secret=secret)
        return write_token(token)

    async def _listen(self, address: Address) -> int:
        try:
            server = await asyncio.start_server(self._meet, address.host, address.port)
        except OSError as error:
            raise ConfigError(
                f"Enrolment should listen on {address.host}:{address.port}. Found: {error}. "
                "Name another port, or stop who has this one."
            ) from None

        async def close() -> None:
            server.close()

        self._service.at_close(close)
        port = server.sockets[0].getsockname()[1]
        return int(port)

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address = address_of(writer.get_extra_info("peername")[0])
        if not self.door.enter(address):  # before TLS, which would cost something
            self._service.counts["turned_away"] += 1
            note("turned_away", "Too many connections at once.", quiet=True, address=address)
            writer.transport.abort()
            return
        try:
            with suppress(OSError, EOFError, asyncio.TimeoutError, ProtocolError):
                async with asyncio.timeout(self._service.config.handshake_s), self._inside:
                    await writer.start_tls(self._context)
                    request = link_pb2.EnrolRequest()
                    parse(request, await reader.readexactly(frame_length(await reader.readexactly(4))))
                    writer.write(frame(self._answer_to(address, request).SerializeToString()))
                    await writer.drain()
        finally:
            self.door.leave(address)
            writer.close()  # which a peer may take its time to answer
            asyncio.get_running_loop().call_later(1.0, writer.transport.abort)

    def _answer_to(self, address: str, request: link_pb2.EnrolRequest) -> link_pb2.EnrolReply:
        if request.request and (wait_s := self.door.wait_s(address)):
            self._service.counts["turned_away"] += 1
            note("turned_away", "Too many failed attempts.", quiet=True, address=address)
            text = f"Too many attempts from this address failed. Try again in {wait_s:.0f} s."
            return link_pb2.EnrolReply(refusal=text, later=True)
        reply = self.answer(request)
        if reply.refusal:
            note("refused", reply.refusal, quiet=True, reason=reply.refusal, address=address)
            if not reply.later:
                self.door.refused(address)
        return reply

    def answer(self, request: link_pb2.EnrolRequest) -> link_pb2.EnrolReply:
        """Return what a request is worth: the authority, a certificate, or why not."""
        authority = self._service.authority
        if not request.request:
            return link_pb2.EnrolReply(authority=authority.der)
        try:
            if request.protocol != PROTOCOL:
                raise ProtocolError(
                    f"Device and server should speak one link protocol. Found {request.protocol} on the "
                    f"device, {PROTOCOL} on the server: install the same version of phloem on both."
                )
            check_clock(request.clock)
            name = "".join(c for c in request.name if c.isprintable())[:64]
            days = self._service.config.certificate_days
            certificate, fingerprint = authority.issue_device(request.request, days)
            place, certificate = self._service.registry.redeem(
                request.secret, fingerprint, certificate, name, time.time()
            )
        except ProtocolError as error:
            self._service.counts["refused"] += 1
            return link_pb2.EnrolReply(refusal=str(error))
        except RunError as error:  # of the server's own making
            self._service.counts["faults"] += 1
            return link_pb2.EnrolReply(refusal=str(error), later=True)
        self._service.counts["enrolled"] += 1
        client = str(place.place)
        note("enrolled", f"Device {client} has joined.", quiet=True, client=client, name=place.name)
        self._service.seat(place)
        return link_pb2.EnrolReply(
            authority=authority.der, certificate=certificate, port=self._link_port, node=place.node
        )


def _context(service: LinkService) -> ssl.SSLContext:
    key, certificate = server_identity(service.authority)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    with (
        tempfile.TemporaryDirectory() as folder
    ):  # readable by this user only; ssl takes certificates as files
        chain = Path(folder) / "server.pem"
        chain.write_bytes(key + certificate)
        context.load_cert_chain(chain)
    return context
