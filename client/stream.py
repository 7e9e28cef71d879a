"""A client's stream of samples; the position in it is a value that the caller keeps.

Nothing is hidden in the stream: after a crash, or when an instruction comes twice, the
same position gives the same samples. Predict, score and learn in this order: the caller
must not learn what it has yet to predict.

    count = stream.arriving(round, mean)
    fresh, after = stream.next(position, count)     predict and score these
    known = stream.labelled(position, after)        learn from these: their labels have just come
    skipped = stream.skipped(position, after)       bad rows passed over on the way

Without a label delay `known` is `fresh`. With one it is what arrived `delay` samples earlier: the
caller may read it here again, but a device would have to keep those `delay` samples.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from phloem.arrivals import STEADY, Arrivals
from phloem.errors import ConfigError
from phloem.federation import Federation, Feed, Samples


@dataclass(frozen=True, eq=False, slots=True)
class Stream:
    """Samples in order of arrival, and what happens when they are used up.

    `repeat` begins again; `idle` delivers what is left, then nothing. A position counts
    the samples delivered since the start, over all passes; in a feed it counts the rows, bad ones
    included, and what is not there yet may come later.
    """

    samples: Samples
    when_dry: Literal["repeat", "idle"] = "repeat"
    delay: int = 0
    """By how many samples a label comes later than its sample."""
    client: int = 0
    arrivals: Arrivals = STEADY
    dropped: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """The positions before which bad rows were left out."""
    feed: Feed | None = None
    """Where the samples come from instead, if they go on coming."""

    def arriving(self, round_number: int, mean: int) -> int:
        """Return how many samples to ask for in a round; `mean` is `client.samples_per_round`."""
        return self.arrivals.count(self.client, round_number, mean)

    def next(self, position: int, count: int) -> tuple[Samples, int]:
        """Return `count` samples from `position` on, fewer where a stream ends, and the new position.

        Raises:
            ConfigError: `position` or `count` is negative.
            DataError: a feed cannot be read, or has a bad row and `data.bad_rows` is `refuse`.
        """
        if position < 0 or count < 0:
            raise ConfigError(
                f"A stream's position and count should be 0 or more. Found {position} and {count}. "
                "Begin at 0 and pass on the position that `next` returned."
            )
        if self.feed is not None:
            return self.feed.read(position, count)
        length = len(self.samples)
        if self.when_dry == "idle" or not length:
            end = min(position + count, max(length, position))
            return self.samples.take(slice(position, end)), end
        return self._wrapped(position, position + count), position + count

    def labelled(self, position: int, after: int) -> Samples:
        """Return the samples whose labels become known on the way from `position` to `after`, in order.

        Those are the ones of `[position - delay, after - delay)`: over all rounds each sample is learned from
        once, but for the last `delay` of a stream that has ended, whose labels never come.
        """
        start, end = max(0, position - self.delay), max(0, after - self.delay)
        if self.feed is not None:
            return self.feed.read(start, end - start)[0]
        if self.when_dry == "idle" or not len(self.samples):
            return self.samples.take(slice(start, end))
        return self._wrapped(start, end)

    def skipped(self, position: int, after: int) -> int:
        """Return how many bad rows lay between `position` and `after`; of a share, on the first pass only."""
        if self.feed is not None:
            return after - position - len(self.feed.read(position, after - position)[0])
        return self._dropped_before(after) - self._dropped_before(position)

    def _dropped_before(self, position: int) -> int:
        """Return how many bad rows a stream has passed; at its end, those after the last sample too."""
        if position >= len(self.samples):
            return len(self.dropped)
        return int(np.searchsorted(self.dropped, position, side="left"))

    def _wrapped(self, start: int, end: int) -> Samples:
        first, length = start % len(self.samples), len(self.samples)
        if first + end - start <= length:
            return self.samples.take(slice(first, first + end - start))
        return self.samples.take(np.arange(first, first + end - start) % length)


def stream_of(federation: Federation, client: int, when_dry: Literal["repeat", "idle"]) -> Stream:
    """Return client `client`'s stream, with the federation's delay, arrival and dropped rows."""
    return Stream(
        samples=federation.shares[client],
        when_dry=when_dry,
        delay=federation.label_delay,
        client=client,
        arrivals=federation.arrivals,
        dropped=federation.dropped[client] if federation.dropped else np.zeros(0, np.int64),
        feed=federation.feeds[client] if federation.feeds else None,
    )
