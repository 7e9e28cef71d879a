"""A counting TCP proxy on loopback: what crosses it is what a program really put on the wire."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import Self

PIECE = 65536


class Tap:
    """Passes one port on to another and counts the bytes of both directions, in a thread of its own."""

    def __init__(self, host: str, target: int) -> None:
        """Listen on a free port of `host` for what is meant for `target`."""
        self._host, self._target = host, target
        self.up = self.down = self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._ways: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        """Begin to listen; `port` is then known."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        return self

    def __exit__(self, *exception: object) -> None:
        """Cut every connection."""
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._meet, self._host, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        self._server.close()
        for way in self._ways:
            way.cancel()
        await asyncio.gather(*self._ways, return_exceptions=True)

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._ways.add(task)
        try:
            with suppress(OSError, asyncio.CancelledError):  # cut from either side, or by `__exit__`
                far_reader, far_writer = await asyncio.open_connection(self._host, self._target)
                await asyncio.gather(
                    self._pass(reader, far_writer, up=True), self._pass(far_reader, writer, up=False)
                )
        finally:
            self._ways.discard(task)
            writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool) -> None:
        try:
            while piece := await reader.read(PIECE):
                if up:
                    self.up += len(piece)
                else:
                    self.down += len(piece)
                writer.write(piece)
                await writer.drain()
        finally:
            writer.close()
