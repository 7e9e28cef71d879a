"""Streams: every sample once a pass, in order, from a position that the caller keeps."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phloem.client.stream import Stream
from phloem.errors import ConfigError
from phloem.sources import Samples

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
