"""What a running link tells Prometheus: who is there, what the rounds came to, what crossed the wire."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from phloem.link.pages import Address, Figure, open_pages, port_of
from phloem.server.link.service import LinkService
from phloem.server.link.tally import Tally
from phloem.server.strategy import RoundReport

_COUNTS = {
    "streams": "Streams that were begun.",
    "refused": "Peers that were refused, at the link or at the enrolment.",
    "turned_away": "Attempts to join that were not looked at: too many from one address.",
    "faults": "Devices that were put off by a fault of the server's own, such as a full disk.",
    "replaced": "Streams that the same device has replaced by another.",
    "enrolled": "Certificates that were given out for a token.",
    "renewed": "Certificates that were renewed over the link.",
    "answers_again": "Answers that came twice or too late, and were dropped.",
}


@dataclass
class Metrics:
    """Figures of a service and of the run on it."""

    service: LinkService
    accuracy: float | None = None
    last: int | None = None
    rounds: Counter[str] = field(default_factory=Counter)
    payload: Counter[str] = field(default_factory=Counter)
    rejections: Counter[str] = field(default_factory=Counter)
    seconds: float | None = None

    def hear(self, report: RoundReport, found: Tally) -> None:
        """Take in a finished round."""
        self.last, self.seconds = report.round, found.seconds
        self.rounds["finished"] += 1
        self.rounds["abandoned"] += found.abandoned
        self.rounds["accepted"] += report.accepted
        self.rounds["rejected"] += report.refused
        self.count(found)
        if report.accuracy is not None:
            self.accuracy = report.accuracy

    def count(self, found: Tally) -> None:
        """Take in bytes and rejections, as those of the greeting."""
        self.payload.update(found.payload_bytes)
        self.rejections.update(found.rejections)

    def figures(self) -> Iterator[Figure]:
        """Yield what the page shows."""
        counts = self.service.counts
        here, joined = len(self.service.connected()), self.service.joined()
        yield Figure.plain("devices_connected", "gauge", "Devices with a stream now.", here)
        yield Figure.plain("devices_away", "gauge", "Devices that have a place and no stream.", joined - here)
        yield Figure.plain("devices_joined", "gauge", "Devices that have a place.", joined)
        for name, text in _COUNTS.items():
            yield Figure.plain(f"{name}_total", "counter", text, counts[name])
        wire = {way: counts[f"wire_{way}_bytes"] for way in ("up", "down")}
        yield Figure.by(
            "direction",
            "wire_bytes_total",
            "counter",
            "Bytes at the socket, TLS and HTTP/2 included, until the last answer of each device.",
            wire,
        )
        payload = {way: self.payload[way] for way in ("up", "down")}
        yield Figure.by(
            "direction", "payload_bytes_total", "counter", "Bytes of encoded updates and models.", payload
        )
        yield Figure.plain("round", "gauge", "The last finished round.", self.last)
        yield Figure.plain("round_seconds", "gauge", "How long the last round took.", self.seconds)
        yield Figure.plain("rounds_total", "counter", "Rounds that were finished.", self.rounds["finished"])
        yield Figure.plain(
            "rounds_abandoned_total",
            "counter",
            "Rounds that changed nothing, for fewer replies were usable than `server.quorum` asks for.",
            self.rounds["abandoned"],
        )
        for name, text in (
            ("accepted", "Replies that were applied."),
            ("rejected", "Replies that were not."),
        ):
            yield Figure.plain(f"replies_{name}_total", "counter", text, self.rounds[name])
        yield Figure.by(
            "code", "rejections_total", "counter", "Replies and clients that were not taken.", self.rejections
        )
        yield Figure.plain(
            "accuracy", "gauge", "Of the global model on the server's test set.", self.accuracy
        )

    def listen(self, address: Address) -> int:
        """Open the port and return it.

        Raises:
            ConfigError: it cannot be opened.
        """
        return self.service.call(self._listen(address))

    async def _listen(self, address: Address) -> int:
        server = await open_pages(address, self.figures)

        async def close() -> None:
            server.close()

        self.service.at_close(close)
        return port_of(server)
