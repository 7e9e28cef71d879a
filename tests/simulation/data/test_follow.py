"""A file that grows: what was appended comes, once, in order, and from the same position the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from phloem.client.stream import stream_of
from phloem.config import DataConfig
from phloem.errors import DataError
from phloem.federation import Federation
from phloem.simulation.data.federate import federate

FIRST = 20


def line(row: int) -> str:
    """Return a row that holds its own number."""
    return f"{'ann' if row % 3 else 'bob'},{row},{row % 2}\n"


def begun(folder: Path, rows: int = FIRST) -> Path:
    """Write the first rows."""
    path = folder / "log.csv"
    path.write_text("client,a,label\n" + "".join(map(line, range(rows))))
    return path


def opened(path: Path, **settings: object) -> Federation:
    """Open the file as a stream below its first rows."""
    told = {"partition": "turns", "clients": 2, "follow": FIRST, "hold_out": "time", **settings}
    return federate(DataConfig(source=f"csv:{path}", **told), 1)  # type: ignore[arg-type]


def append(path: Path, text: str) -> None:
    """Let the file grow."""
    with path.open("a") as file:
        file.write(text)


def test_what_is_appended_comes_when_it_is_there(tmp_path: Path) -> None:
    """A round finds what has come since the last; a position stays where nothing has."""
    path = begun(tmp_path)
    stream = stream_of(opened(path), 0, "repeat")
    assert stream.next(0, 8) == stream.next(0, 8) or len(stream.next(0, 8)[0]) == 0
    append(path, "".join(map(line, range(20, 26))))
    samples, position = stream.next(0, 2)
    assert (samples.x[:, 0].tolist(), position) == ([20, 22], 2)
    samples, position = stream.next(position, 8)
    assert (samples.x[:, 0].tolist(), samples.y.tolist(), position) == ([24], [0], 3)
    append(path, line(26))
    assert stream.next(position, 8)[0].x[:, 0].tolist() == [26]


def test_the_same_position_gives_the_same_however_long_the_file_is(tmp_path: Path) -> None:
    """Another process that opens the file later sees the same stream, and the same history."""
    path = begun(tmp_path)
    early = opened(path)
    append(path, "".join(map(line, range(20, 40))))
    first = early.feeds[1].read(2, 4)
    append(path, "".join(map(line, range(40, 60))))
    late = opened(path)
    again = late.feeds[1].read(2, 4)
    assert np.array_equal(first[0].x, again[0].x)
    assert first[1] == again[1] == 6
    assert np.array_equal(early.test.x, late.test.x)
    assert np.array_equal(early.proxy, late.proxy)


def test_the_first_rows_are_held_back_and_never_streamed(tmp_path: Path) -> None:
    """Test, validation and proxy come from them; the stream begins below."""
    path = begun(tmp_path, 30)
    federation = opened(path, clients=1)
    assert [len(federation.test), len(federation.validation), len(federation.proxy)] == [4, 2, 2]
    assert max(federation.test.x[:, 0]) < FIRST
    assert federation.feeds[0].read(0, 99)[0].x[:, 0].tolist() == list(range(20, 30))


def test_rows_are_dealt_by_their_client(tmp_path: Path) -> None:
    """Natural clients get their own rows; one that the first rows do not name gets none."""
    path = begun(tmp_path)
    federation = opened(path, partition="natural", clients=0)
    append(path, "".join(map(line, range(20, 29))) + "eve,99,1\n")
    assert federation.client_names == ("ann", "bob")
    rows = [federation.feeds[client].read(0, 99)[0].x[:, 0].tolist() for client in range(2)]
    assert rows == [[20, 22, 23, 25, 26, 28], [21, 24, 27]]


def test_a_line_without_its_end_is_not_there_yet(tmp_path: Path) -> None:
    """The writer may be in the middle of it."""
    path = begun(tmp_path)
    feed = opened(path, clients=1).feeds[0]
    append(path, "ann,20")
    assert feed.read(0, 9)[1] == 0
    append(path, "5,1\n")
    assert feed.read(0, 9)[0].x[:, 0].tolist() == [205]


def test_a_bad_row_is_refused_or_passed_over_and_counted(tmp_path: Path) -> None:
    """An unknown label is bad too: the model has no place for it."""
    path = begun(tmp_path)
    append(path, "ann,20,1\nann,oops,1\nann,22,7\nann\nann,24,0\n")
    with pytest.raises(DataError, match=r"Found a bad one, row 1 of this client: 'ann, oops, 1'"):
        opened(path, clients=1).feeds[0].read(0, 9)
    stream = stream_of(opened(path, clients=1, bad_rows="drop"), 0, "repeat")
    samples, position = stream.next(0, 9)
    assert (samples.x[:, 0].tolist(), position, stream.skipped(0, position)) == ([20, 24], 5, 3)


def test_new_rows_are_scaled_like_the_first_ones(tmp_path: Path) -> None:
    """The scale is fitted once, on rows that everybody has."""
    path = begun(tmp_path)
    append(path, "ann,1000,1\n")
    federation = opened(path, clients=1, scale="standard", test_fraction=0)
    [value] = federation.feeds[0].read(0, 1)[0].x[0]
    assert value == 10, "cut at ten deviations, as a new row is far outside"
    assert np.abs(federation.proxy).max() < 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"follow": 21}, "should have 21 rows to begin with.* Found 20"),
        ({"partition": "iid"}, "'turns' or 'natural' for a file that is followed"),
        ({"time": "client"}, r"`data.time` should be empty"),
        ({"scenario": "swap"}, "Found a stream that goes on"),
    ],
)
def test_what_does_not_go_with_a_growing_file_is_refused(
    tmp_path: Path, settings: dict[str, object], message: str
) -> None:
    """What needs all rows cannot be done before they are there."""
    with pytest.raises(DataError, match=message):
        opened(begun(tmp_path), **settings)


def test_only_csv_is_followed() -> None:
    """Other files are written in one piece."""
    with pytest.raises(DataError, match="0 for all sources but 'csv:PATH'"):
        federate(DataConfig(follow=5), 1)


def test_a_file_that_shrinks_or_goes_is_refused(tmp_path: Path) -> None:
    """The rows of a position would be others."""
    path = begun(tmp_path)
    feed = opened(path, clients=1).feeds[0]
    append(path, line(20) * 9)
    feed.read(0, 9)
    path.write_text("client,a,label\n")
    with pytest.raises(DataError, match="should only grow"):
        feed.read(0, 9)
    path.unlink()
    with pytest.raises(DataError, match="should stay readable"):
        feed.read(0, 9)
