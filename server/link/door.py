"""The enrolment port's doorkeeper: no address may hold the door, or try tokens for as long as it likes."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address

MINUTE_S = 60.0
MOST_ADDRESSES = 4096
"""Whose refusals are remembered; of more, those that were refused longest ago are forgotten."""


@dataclass
class Door:
    """Who is inside, and who was refused of late, by address."""

    at_once: int
    refusals_a_minute: int
    clock: Callable[[], float] = time.monotonic
    inside: Counter[str] = field(default_factory=Counter)
    _refused: dict[str, deque[float]] = field(default_factory=dict)

    def enter(self, address: str) -> bool:
        """Let a connection in; False where its address has too many."""
        if self.inside[address] >= self.at_once:
            return False
        self.inside[address] += 1
        return True

    def leave(self, address: str) -> None:
        """Let a connection out that was let in."""
        self.inside[address] -= 1
        if not self.inside[address]:
            del self.inside[address]

    def refused(self, address: str) -> None:
        """Remember that an attempt failed."""
        found = self._refused.pop(address, None) or deque(maxlen=self.refusals_a_minute)
        found.append(self.clock())
        self._refused[address] = found  # last in order
        while len(self._refused) > MOST_ADDRESSES:
            del self._refused[next(iter(self._refused))]

    def wait_s(self, address: str) -> float:
        """Return for how many seconds an address's attempts are not looked at."""
        found = self._refused.get(address)
        if found is None or len(found) < self.refusals_a_minute:
            return 0.0
        return max(0.0, found[0] + MINUTE_S - self.clock())


def address_of(host: str) -> str:
    """Return what counts as one address: an IPv4 address, or the /64 network of an IPv6 one."""
    found = ip_address(host.partition("%")[0])
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(IPv6Address(int(found) >> 64 << 64))
    return str(found)
