"""What a finished round came to, read from its ledger: for logs and for metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phloem.ledger import Ledger


@dataclass(frozen=True)
class Tally:
    """A round in figures; those by direction have the keys `up` and `down`."""

    payload_bytes: Mapping[str, int]
    wire_bytes: Mapping[str, int]
    """Without the messages that nobody could count."""
    rejections: Mapping[str, int]
    """By code."""
    seconds: float

    @property
    def abandoned(self) -> bool:
        """Whether too few replies were usable, so that the round changed nothing."""
        return "quorum" in self.rejections

    def fields(self) -> dict[str, Any]:
        """Return the figures as a log has them."""
        named = {
            f"{kind}_{direction}_bytes": found.get(direction, 0)
            for kind, found in (("payload", self.payload_bytes), ("wire", self.wire_bytes))
            for direction in ("up", "down")
        }
        return {**named, "rejections": dict(self.rejections), "abandoned": self.abandoned}


def tally(path: Path, round_number: int) -> Tally:
    """Return the figures of a round, its ledger committed; those of round 0 are the greeting's."""
    with Ledger.open(path) as ledger:
        sums = ledger.query(
            "SELECT direction, coalesce(sum(payload_bytes), 0), coalesce(sum(wire_bytes), 0)"
            " FROM message WHERE round = ? GROUP BY direction",
            round_number,
        )
        codes = ledger.query(
            "SELECT code, count(*) FROM rejection WHERE round = ? GROUP BY code", round_number
        )
        rows = ledger.query("SELECT seconds FROM round WHERE round = ?", round_number)
    return Tally(
        {direction: payload for direction, payload, _ in sums},
        {direction: wire for direction, _, wire in sums},
        dict(codes),
        float(rows[0][0]) if rows else 0.0,
    )
