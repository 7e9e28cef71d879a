"""What waits for one device: handed out until it is answered, answered once.

Pure bookkeeping, no network: the session that serves the device asks it, the grid fills it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from enum import Enum


@dataclass(frozen=True)
class Parcel:
    """A task for a device: its number, its head before compression, and the bytes beside that."""

    id: int
    head: bytes
    data: tuple[bytes, ...]

    @property
    def size(self) -> int:
        """Bytes of content, before the stream's own framing."""
        return len(self.head) + sum(map(len, self.data))


class Verdict(Enum):
    """What an answer is worth."""

    WANTED = "wanted"
    AGAIN = "again"
    """Answered already, or no longer wanted: a doubled or a late answer, which does no harm."""
    NEVER_ASKED = "never asked"
    """No task ever had this number: the peer makes it up."""


@dataclass
class Mailbox:
    """One device's tasks without an answer, in the order in which they were posted."""

    capacity: int
    waiting: dict[int, Parcel] = field(default_factory=dict)
    first: int = 0
    """The first number of this run of the server; lower ones are of an earlier one."""
    last: int = 0

    def post(self, parcel: Parcel) -> bool:
        """Keep a task until it is answered; False where too many wait."""
        if len(self.waiting) >= self.capacity:
            return False
        self.first, self.last = self.first or parcel.id, parcel.id
        self.waiting[parcel.id] = parcel
        return True

    def answer(self, number: int) -> Verdict:
        """Take the answer to a task off the books."""
        if self.waiting.pop(number, None) is not None:
            return Verdict.WANTED
        return Verdict.AGAIN if number <= self.last or number < self.first else Verdict.NEVER_ASKED

    def withdraw(self, number: int) -> None:
        """Stop waiting for an answer."""
        self.waiting.pop(number, None)

    def to_hand_out(self, ready: Collection[int]) -> Iterator[Parcel]:
        """Yield what a new stream has to carry: all that waits, but what the device has answered already."""
        yield from (parcel for parcel in self.waiting.values() if parcel.id not in ready)

    def behind(self, number: int) -> int:
        """Return how far below `number` the device must still keep answers."""
        return number - min(self.waiting, default=number) if number in self.waiting else 0
