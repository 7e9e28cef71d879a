"""What a running link tells Prometheus: one page of text, made when it is asked for.

GET /metrics    GET /healthz
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from phloem.errors import ConfigError
from phloem.server.link.service import Address, LinkService
from phloem.server.strategy import RoundReport

MOST_REQUEST_BYTES = 8192
_HELP = {
    "devices_connected": ("gauge", "Devices with a stream now."),
    "devices_joined": ("gauge", "Devices that have a place."),
    "streams_total": ("counter", "Streams that were begun."),
    "refused_total": ("counter", "Peers that were refused, at the link or at the enrolment."),
    "replaced_total": ("counter", "Streams that the same device has replaced by another."),
    "enrolled_total": ("counter", "Certificates that were given out."),
    "wire_up_bytes_total": ("counter", "Bytes from devices at the socket, TLS included."),
    "wire_down_bytes_total": ("counter", "Bytes to devices at the socket, TLS included."),
    "answers_again_total": ("counter", "Answers that came twice or too late, and were dropped."),
    "round": ("gauge", "The last finished round."),
    "replies_accepted_total": ("counter", "Replies that were applied."),
    "replies_rejected_total": ("counter", "Replies that were not."),
    "accuracy": ("gauge", "Of the global model on the server's test set."),
}


@dataclass
class Metrics:
    """Figures of a service and of the run on it."""

    service: LinkService
    run: dict[str, float] = field(default_factory=dict)

    def hear(self, report: RoundReport) -> None:
        """Take in a finished round."""
        self.run["round"] = report.round
        for name, more in (("accepted", report.accepted), ("rejected", report.refused)):
            key = f"replies_{name}_total"
            self.run[key] = self.run.get(key, 0) + more
        if report.accuracy is not None:
            self.run["accuracy"] = report.accuracy

    def page(self) -> str:
        """Return the page in Prometheus' text format."""
        counts = self.service.counts
        values = {
            "devices_connected": len(self.service.connected()),
            "devices_joined": len(self.service.registry.places()),
            **{name: counts[name.removesuffix("_total")] for name in _HELP if name.endswith("_total")},
            **self.run,
        }
        lines = []
        for name, (kind, text) in _HELP.items():
            if name in values:
                lines += [f"# HELP phloem_{name} {text}", f"# TYPE phloem_{name} {kind}"]
                lines.append(f"phloem_{name} {values[name]}")
        return "\n".join(lines) + "\n"

    def listen(self, address: Address) -> int:
        """Open the port and return it.

        Raises:
            ConfigError: it cannot be opened.
        """
        return self.service.call(self._listen(address))

    async def _listen(self, address: Address) -> int:
        try:
            server = await asyncio.start_server(
                self._meet, address.host, address.port, limit=MOST_REQUEST_BYTES
            )
        except OSError as error:
            raise ConfigError(
                f"Metrics should listen on {address.host}:{address.port}. Found: {error}. Name another."
            ) from None

        async def close() -> None:
            server.close()

        self.service.at_close(close)
        return int(server.sockets[0].getsockname()[1])

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, EOFError, ValueError, TimeoutError, asyncio.LimitOverrunError):
            async with asyncio.timeout(self.service.config.handshake_s):
                head = await reader.readuntil(b"\r\n\r\n")
                method, path, *_ = head.split(b" ", 2)
                pages: dict[bytes, Callable[[], str]] = {b"/metrics": self.page, b"/healthz": lambda: "ok\n"}
                found = method == b"GET" and path in pages
                body = (pages[path]() if found else "not here\n").encode()
                writer.write(
                    b"HTTP/1.1 %s\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: %d\r\n"
                    b"Connection: close\r\n\r\n%s"
                    % (b"200 OK" if found else b"404 Not Found", len(body), body)
                )
                await writer.drain()
        writer.close()
