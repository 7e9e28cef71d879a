"""The way up of a device's stream: does each task, sends its answer, rests when there is nothing to do."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from phloem.client.link.memory import shed
from phloem.client.link.node import Node
from phloem.link.stream import Deflater
from phloem.proto import link_pb2

WARM = 3
"""After so many answers a device has loaded all it will: a greeting, a round, a round that builds on it."""

REST_S = 1.0
"""A device that has had nothing to do for so long gives back what it can; its next task reads it again."""


@dataclass
class Answers:
    """The way up of one stream."""

    node: Node
    call: Any
    most_bytes: int
    threaded: bool
    deflater: Deflater = field(default_factory=Deflater)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """gRPC takes one message at a time."""
    rest: asyncio.TimerHandle | None = None

    async def send(self, number: int, head: bytes, data: tuple[bytes, ...]) -> None:
        """Do a task, or find that it was done, and send the answer."""
        self.wake()
        if self.threaded:
            plain, beside = await asyncio.to_thread(self.node.answer, number, head, data)
        else:
            plain, beside = self.node.answer(number, head, data)
        if sum(map(len, beside)) + len(plain) > self.most_bytes:
            size = sum(map(len, beside)) + len(plain)
            plain, beside = self.node.too_large(size, self.most_bytes), ()
        self.node.answered += 1
        if self.threaded and self.node.answered <= WARM:  # code is loaded as it is first needed
            shed()
        elif self.threaded:
            self.rest = asyncio.get_running_loop().call_later(REST_S, shed)
        answer = link_pb2.Answer(id=number, head=self.deflater.squeeze(plain), data=beside)
        await self.write(link_pb2.Up(answer=answer))

    def wake(self) -> None:
        """Do not rest now."""
        if self.rest is not None:
            self.rest.cancel()

    async def write(self, up: link_pb2.Up) -> None:
        """Send something."""
        async with self.turn:
            await self.call.write(up.SerializeToString())
