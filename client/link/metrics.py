"""What a device tells Prometheus about itself: what it holds back, what it did, what crossed its socket.

The server never learns what compression keeps back on a device; who wants to see it asks the device.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from flwr.app import Context, Message

from phloem.link.meter import Meter
from phloem.link.pages import Figure
from phloem.records import from_record


@dataclass
class Figures:
    """A device's own figures, kept while its app runs."""

    counts: Counter[str] = field(default_factory=Counter)
    watching: bool = False
    """Whether anybody asks for these; else nothing is looked for at the socket."""
    connected: bool = False
    residual_norm: float | None = None
    renew_at: float = math.inf
    wire: Counter[str] = field(default_factory=Counter)
    _meter: Meter | None = None

    def watch(self, app: Callable[[Message, Context], Message]) -> Callable[[Message, Context], Message]:
        """Return the app, with an eye on what it leaves in its Context."""
        from phloem.client.plain import RESIDUAL  # which brings torch: another app may do without

        self.watching = True

        def watched(message: Message, context: Context) -> Message:
            reply = app(message, context)
            self.counts["tasks"] += 1
            self.counts["refusals"] += reply.has_error()
            residual = context.state.array_records.get(RESIDUAL)
            if residual is not None:
                arrays = from_record(residual).values()
                self.residual_norm = math.sqrt(sum(float((a.astype("f8") ** 2).sum()) for a in arrays))
            return reply

        return watched

    def begin(self, port: int) -> None:
        """Note that there is a connection to this port."""
        self.connected, self._meter = True, Meter(f"*:{port}") if self.watching else None
        self.counts["connections"] += 1

    def end(self) -> None:
        """Note that there is none."""
        self._count()
        self.connected, self._meter = False, None

    def figures(self) -> Iterator[Figure]:
        """Yield what the page shows."""
        self._count()
        yield Figure.plain("device_connected", "gauge", "Whether there is a stream now.", int(self.connected))
        for name, text in (
            ("connections", "Streams that were begun."),
            ("tasks", "Tasks that the app has done."),
            ("refusals", "Tasks that the app has refused."),
        ):
            yield Figure.plain(f"device_{name}_total", "counter", text, self.counts[name])
        yield Figure.plain(
            "device_residual_norm",
            "gauge",
            "Euclidean length of what compression has kept back here, to be sent later.",
            self.residual_norm,
        )
        yield Figure.by(
            "direction",
            "device_wire_bytes_total",
            "counter",
            "Bytes at the socket, TLS and HTTP/2 included.",
            {way: self.wire[way] for way in ("up", "down")},
        )
        if math.isfinite(self.renew_at):
            yield Figure.plain(
                "device_certificate_renewal_seconds",
                "gauge",
                "When the certificate is to be renewed, in seconds since 1970.",
                self.renew_at,
            )

    def _count(self) -> None:
        if self._meter is not None:
            down, up = self._meter.read()  # what comes in here is on its way down
            self.wire["up"] += up
            self.wire["down"] += down
