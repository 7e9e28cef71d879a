"""A bad network between two ends on loopback: slow, uneven, narrow, silent, cut or gone, as a test wants."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass, field

PIECE = 4096


@dataclass
class Weather:
    """What happens to bytes now; a test changes it while they flow."""

    delay_s: float = 0.0
    jitter_s: float = 0.0
    """At most so much more delay for each piece; order is kept, as TCP keeps it."""
    rate_bytes_per_second: float = 0.0
    """0 for as fast as it goes."""
    swallow_up: bool = False
    """What the device sends is lost without a word, as behind a NAT that forgot it."""
    partition: bool = False
    """Nobody gets in, and nothing passes either way."""


@dataclass
class BadNetwork:
    """A TCP proxy to one port of this host."""

    target: int
    weather: Weather = field(default_factory=Weather)
    seed: int = 1
    port: int = 0
    connections: int = 0
    _cut: list[asyncio.StreamWriter] = field(default_factory=list)

    async def listen(self) -> int:
        """Open a port and return it; the server is closed with the event loop's other work."""
        self._rng = random.Random(self.seed)
        self._server = await asyncio.start_server(self._meet, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self.port

    async def reset(self) -> None:
        """Cut every connection, from another thread."""
        self.cut()

    def cut(self) -> None:
        """Cut every connection at once, with an RST rather than a farewell."""
        for writer in self._cut:
            writer.transport.abort()
        self._cut.clear()

    async def close(self) -> None:
        """Stop."""
        self._server.close()
        await self.reset()

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.weather.partition:
            writer.transport.abort()
            return
        self.connections += 1
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        self._cut += [writer, far_writer]
        both = (self._pass(reader, far_writer, up=True), self._pass(far_reader, writer, up=False))
        with suppress(OSError):
            await asyncio.gather(*both)
        for each in (writer, far_writer):
            each.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool) -> None:
        while piece := await reader.read(PIECE):
            weather = self.weather
            wait = weather.delay_s + self._rng.uniform(0, weather.jitter_s)
            if weather.rate_bytes_per_second:
                wait += len(piece) / weather.rate_bytes_per_second
            if wait:
                await asyncio.sleep(wait)
            while self.weather.partition:
                await asyncio.sleep(0.01)
            if up and self.weather.swallow_up:
                continue
            writer.write(piece)
            await writer.drain()
        writer.close()
