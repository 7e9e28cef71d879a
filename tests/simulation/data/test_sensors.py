"""A generator as a device's sensor: opened late, read once in order, and again from what is kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from phloem.client.stream import stream_of
from phloem.config import DataConfig
from phloem.errors import ConfigError, DataError
from phloem.federation import Federation
from phloem.simulation.data import sensors
from phloem.sources import open_federation

USERS_OWN = """
import itertools
opened = []

def readings(client, start):
    opened.append((client, start))
    for row in itertools.count(start):
        yield [row, 10 * client], row % 2

def rows(client, start):
    return iter([[1.0, 2.0, 0], [3.0, 4.0, 1]][start:])

def broken(client, start):
    yield from [([1.0], 0), ([float("nan")], 1), ([2.0], 5), ([3.0], 0.5), ([4.0], 1)]

def nothing(client, start):
    return iter(())

def words(client, start):
    yield "a sample", "good"

def unplugged(client, start):
    yield from ([row, 0] for row in range(start, 3))
    if client == 0:
        raise OSError("no such device")
    yield [3.0, float("nan")]

def no_generator(client, start):
    return 5

def one_argument(client):
    yield [1.0], 0

def changing(client, start):
    yield [1.0], 0
    yield [1.0, 2.0], 0
"""


@pytest.fixture(autouse=True)
def _users_sensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    name = f"users_sensors_{abs(hash(tmp_path))}"
    (tmp_path / f"{name}.py").write_text(USERS_OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(globals(), "MODULE", name)
    open_federation.cache_clear()
    yield
    open_federation.cache_clear()


MODULE = ""


def opened(function: str, **settings: object) -> Federation:
    """Open a function as a source."""
    told = {"classes": 2, "clients": 2, **settings}
    return open_federation(DataConfig(source=f"stream:{MODULE}:{function}", **told), 1)  # type: ignore[arg-type]


def test_each_client_reads_its_own_generator_in_order() -> None:
    """The sensor is opened once, when it is read, and goes on where it was."""
    federation = opened("readings", shape=(2,))
    module = __import__(MODULE)
    assert (federation.input_shape, federation.classes, module.opened) == ((2,), 2, [])
    stream = stream_of(federation, 1, "repeat")
    samples, position = stream.next(0, 3)
    assert (samples.x.tolist(), samples.y.tolist()) == ([[0, 10], [1, 10], [2, 10]], [0, 1, 0])
    assert stream.next(position, 2)[0].x[:, 0].tolist() == [3, 4]
    assert stream.next(0, 3)[0].x[:, 0].tolist() == [0, 1, 2], "an instruction that comes twice"
    assert module.opened == [(1, 0)]


def test_a_generator_is_asked_again_for_what_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a restart the stream goes on at the position, not at the start."""
    monkeypatch.setattr(sensors, "KEPT", 4)
    feed = opened("readings", shape=(2,)).feeds[0]
    feed.read(0, 10)
    assert feed.read(1, 2)[0].x[:, 0].tolist() == [1, 2]
    assert feed.read(500, 2)[0].x[:, 0].tolist() == [500, 501]


def test_late_labels_find_their_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for its label is kept."""
    monkeypatch.setattr(sensors, "KEPT", 4)
    stream = stream_of(opened("readings", shape=(2,), scenario="label_delay:6"), 0, "repeat")
    position, learned = 0, list[float]()
    for _ in range(5):
        _, after = stream.next(position, 3)
        learned += stream.labelled(position, after).x[:, 0].tolist()
        position = after
    assert learned == list(range(9))
    assert len(__import__(MODULE).opened) == 1


def test_a_generator_that_ends_is_a_stream_that_ends() -> None:
    """Rows of numbers end with their label; the shape is seen at the first."""
    federation = opened("rows")
    stream = stream_of(federation, 0, "repeat")
    samples, position = stream.next(0, 9)
    assert (samples.x.tolist(), samples.y.tolist(), position) == ([[1, 2], [3, 4]], [0, 1], 2)
    assert stream.next(position, 9)[1] == 2


def test_bad_rows_are_refused_or_counted() -> None:
    """NaN, a label outside of the classes, and one that is no whole number."""
    with pytest.raises(DataError, match="Found a bad row, number 1"):
        opened("broken").feeds[0].read(0, 9)
    stream = stream_of(opened("broken", bad_rows="drop"), 0, "repeat")
    samples, position = stream.next(0, 9)
    assert (samples.x[:, 0].tolist(), position, stream.skipped(0, position)) == ([1, 4], 5, 3)


@pytest.mark.parametrize(
    ("function", "settings", "message"),
    [
        ("readings", {"classes": 0}, r"`data.classes` should be 2 or more"),
        ("nothing", {}, r"should yield a sample .* Set `data.shape`"),
        ("words", {}, r"should yield \(x, y\), or rows"),
        ("no_generator", {}, "should be a generator of samples, .* raised TypeError"),
        ("one_argument", {}, r"raised TypeError: one_argument\(\) takes 1 .* \(.*, line"),
        ("readings", {"scenario": "swap"}, "Found a stream that goes on"),
    ],
)
def test_a_generator_that_cannot_work_is_refused(
    function: str, settings: dict[str, object], message: str
) -> None:
    """Before a round, where it can be seen before."""
    with pytest.raises(DataError, match=message):
        opened(function, **settings)
    with pytest.raises(ConfigError, match=r"nothing of this name"):
        opened("nobody")


def test_a_generator_that_raises_says_where_and_is_opened_again() -> None:
    """A sensor that comes back is read on; one that ended by an error would look like a stream's end."""
    feed = opened("unplugged", shape=(1,)).feeds[0]
    for _ in range(2):
        with pytest.raises(
            DataError, match=r"raised OSError: no such device \(.*users_sensors.*, line \d+\)"
        ):
            feed.read(0, 9)
    assert feed.read(0, 3)[0].x[:, 0].tolist() == [0, 1, 2]


def test_a_label_that_is_no_number_makes_its_row_bad() -> None:
    """As a cell of a file would."""
    with pytest.raises(DataError, match="Found a bad row, number 3, with the label nan"):
        opened("unplugged", shape=(1,)).feeds[1].read(0, 9)
    samples, after = opened("unplugged", shape=(1,), bad_rows="drop").feeds[1].read(0, 9)
    assert (samples.y.tolist(), after) == ([0, 0, 0], 4)


def test_inputs_that_change_their_shape_are_refused() -> None:
    """The model has one."""
    with pytest.raises(DataError, match=r"of shape \(1,\). Found \(2,\)"):
        opened("changing").feeds[0].read(0, 2)


def test_labels_and_inputs_have_their_types() -> None:
    """As of any federation."""
    samples, _ = opened("rows").feeds[0].read(0, 0)
    assert (samples.x.dtype.name, samples.x.shape, samples.y.dtype.name) == ("float32", (0, 2), "int64")
