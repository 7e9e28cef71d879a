"""Streams: every sample once a pass, in order, from a position that the caller keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phloem.arrivals import Arrivals
from phloem.client.stream import Stream, stream_of
from phloem.errors import ConfigError
from phloem.sources import Federation, Samples

COUNTS = st.lists(st.integers(0, 40), max_size=20)


def numbered(length: int) -> Samples:
    """Make samples that hold their own number."""
    return Samples(np.arange(length, dtype=np.float32).reshape(length, 1), np.arange(length, dtype=np.int64))


def deliver(length: int, when_dry: Literal["repeat", "idle"], counts: list[int]) -> tuple[list[int], int]:
    """Take the counts one after another; return the numbers that came, and the last position."""
    stream, position, came = Stream(numbered(length), when_dry), 0, list[int]()
    for count in counts:
        samples, position = stream.next(position, count)
        assert samples.x[:, 0].tolist() == samples.y.tolist()
        came += samples.y.tolist()
    return came, position


@given(length=st.integers(1, 30), counts=COUNTS)
def test_a_repeating_stream_gives_every_sample_once_a_pass_in_order(length: int, counts: list[int]) -> None:
    """However it is cut into rounds, the stream is the share again and again."""
    came, position = deliver(length, "repeat", counts)
    assert came == [i % length for i in range(sum(counts))]
    assert position == sum(counts)


@given(length=st.integers(0, 30), counts=COUNTS)
def test_an_idle_stream_gives_every_sample_once_and_then_nothing(length: int, counts: list[int]) -> None:
    """A device with no new data must not be made to learn the old again."""
    came, position = deliver(length, "idle", counts)
    assert came == list(range(min(length, sum(counts))))
    assert position == len(came)


@given(length=st.integers(0, 30), position=st.integers(0, 100), count=st.integers(0, 40))
@pytest.mark.parametrize("when_dry", ["repeat", "idle"])
def test_the_same_position_gives_the_same_samples(
    when_dry: Literal["repeat", "idle"], length: int, position: int, count: int
) -> None:
    """After a crash, or when an instruction comes twice, the client sees what it saw."""
    stream = Stream(numbered(length), when_dry)
    first, after = stream.next(position, count)
    stream.next(after, 7)
    again, after_again = stream.next(position, count)
    assert (first.y.tolist(), after) == (again.y.tolist(), after_again)
    assert after >= position


def test_a_stream_without_samples_delivers_none() -> None:
    """It neither fails nor moves."""
    samples, position = Stream(numbered(0)).next(0, 5)
    assert (len(samples), position) == (0, 0)


@pytest.mark.parametrize(("position", "count"), [(-1, 1), (0, -1)])
def test_a_negative_position_or_count_is_refused(position: int, count: int) -> None:
    """Python would otherwise count from the end."""
    with pytest.raises(ConfigError, match="0 or more"):
        Stream(numbered(3)).next(position, count)


@given(length=st.integers(1, 30), delay=st.integers(0, 40), counts=COUNTS)
@pytest.mark.parametrize("when_dry", ["repeat", "idle"])
def test_late_labels_come_once_in_order_and_never_before_their_sample(
    when_dry: Literal["repeat", "idle"], length: int, delay: int, counts: list[int]
) -> None:
    """Over all rounds each sample is learned from once, `delay` samples after it was predicted."""
    stream, position, predicted, learned = (
        Stream(numbered(length), when_dry, delay),
        0,
        list[int](),
        list[int](),
    )
    for count in counts:
        samples, after = stream.next(position, count)
        known = stream.labelled(position, after)
        predicted += samples.y.tolist()
        learned += known.y.tolist()
        assert len(learned) == max(0, after - delay)
        position = after
    assert learned == predicted[: max(0, len(predicted) - delay)]


def test_without_a_delay_the_labels_come_with_the_samples() -> None:
    """What is predicted is what is learned."""
    stream = Stream(numbered(7))
    samples, after = stream.next(5, 4)
    assert stream.labelled(5, after).y.tolist() == samples.y.tolist() == [5, 6, 0, 1]


@given(length=st.integers(1, 20), bad=st.lists(st.integers(0, 20), max_size=8), counts=COUNTS)
def test_every_bad_row_is_counted_once(length: int, bad: list[int], counts: list[int]) -> None:
    """Skipped rows are in some round's count, and a second pass does not count them again."""
    dropped = np.sort(np.minimum(np.array(bad, np.int64), length))
    stream, position, skipped = Stream(numbered(length), dropped=dropped), 0, 0
    for count in counts:
        _, after = stream.next(position, count)
        skipped += stream.skipped(position, after)
        position = after
    assert skipped == (len(dropped) if position >= length else (dropped < position).sum())


@dataclass(frozen=True)
class Growing:
    """A feed with so many rows by now, of which every third is bad."""

    rows: int

    def read(self, start: int, count: int) -> tuple[Samples, int]:
        """Return the good ones."""
        there = range(start, max(start, min(start + count, self.rows)))
        good = np.array([row for row in there if row % 3 != 2], np.int64)
        return Samples(good.astype(np.float32).reshape(-1, 1), good), start + len(there)


def test_a_stream_that_goes_on_gives_what_is_there_and_more_when_it_is_there() -> None:
    """The position counts rows, bad ones too, so it stays where it is until the file has grown."""
    nothing = numbered(0)
    early, late = Stream(nothing, feed=Growing(5)), Stream(nothing, feed=Growing(9))
    samples, position = early.next(0, 8)
    assert (samples.y.tolist(), position) == ([0, 1, 3, 4], 5)
    assert early.next(position, 8)[0].y.tolist() == []
    assert early.next(position, 8)[1] == 5
    assert late.next(position, 8)[0].y.tolist() == [6, 7]
    assert late.skipped(0, 9) == 3
    assert late.labelled(3, 9).y.tolist() == [3, 4, 6, 7]
    assert Stream(nothing, delay=4, feed=Growing(9)).labelled(3, 9).y.tolist() == [0, 1, 3, 4]


def test_a_clients_stream_has_what_the_federation_says_of_it() -> None:
    """Delay, arrival and dropped rows come with the share."""
    federation = Federation(
        shares=(numbered(4), numbered(6)),
        test=numbered(0),
        validation=numbered(0),
        proxy=numbered(0).x,
        classes=6,
        input_shape=(1,),
        label_delay=2,
        arrivals=Arrivals(seed=1, slow=0.5, slow_clients=1.0),
        dropped=(np.array([1]), np.array([0, 6])),
    )
    stream = stream_of(federation, 1, "idle")
    assert stream.arriving(3, 10) == 5
    assert stream.next(0, 9)[1] == 6
    assert stream.labelled(0, 6).y.tolist() == [0, 1, 2, 3]
    assert stream.skipped(0, 6) == 2
