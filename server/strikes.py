"""Clients whose replies are never usable are left out: each costs a place in a round, and bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from phloem.config import ServerConfig

CODES = frozenset({"change", "corrupt", "identity", "protocol", "stale", "weight"})
"""Rejections that an honest client has no part in; losing a reply or failing is none."""

FOR_GOOD = 2**62


@dataclass(frozen=True)
class Strikes:
    """How often each client's replies were rejected, and who is left out for it."""

    counts: Mapping[str, int] = field(default_factory=dict)
    out_until: Mapping[str, int] = field(default_factory=dict)
    """The last round for which a client is not chosen."""

    def out(self, client: str, round_number: int) -> bool:
        """Tell whether a client is left out of a round."""
        return self.out_until.get(client, -1) >= round_number

    def verdict(self, client: str, round_number: int) -> str:
        """Return what to add to the reason of a client's rejection."""
        if not self.out(client, round_number + 1):
            return ""
        until = self.out_until[client]
        span = "for the rest of the run" if until == FOR_GOOD else f"up to round {until}"
        return f" With this it is left out {span}."

    def count(self, client: str, code: str, round_number: int, config: ServerConfig) -> Strikes:
        """Note a rejection; with `server.strikes` of them the client is left out, and then begins anew."""
        if not config.strikes or code not in CODES:
            return self
        counts = {**self.counts, client: self.counts.get(client, 0) + 1}
        if counts[client] < config.strikes:
            return replace(self, counts=counts)
        until = round_number + config.penalty_rounds if config.penalty_rounds else FOR_GOOD
        return Strikes({**counts, client: 0}, {**self.out_until, client: until})
