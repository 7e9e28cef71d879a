"""What long-running verbs say: lines for people, or an object a line that a machine can count by."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator

import pytest

from phloem import logs


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """Put every logger back."""
    names = ("", "phloem", "flwr")
    before = {n: (g := logging.getLogger(n), g.handlers[:], g.level, g.propagate) for n in names}
    yield
    logging.captureWarnings(False)
    for logger, handlers, level, propagate in before.values():
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)


def test_json_is_one_object_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time, level, event, text and fields; warnings and other libraries' words too; nothing else."""
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    logs.to_json()
    logs.note("round", "Round 3 is\ndone.", round=3, payload_up_bytes=120, time="not this")
    logs.note("refused", "No.", level=logging.WARNING, quiet=True, reason="é", client="0")
    logging.getLogger("flwr").warning("something of Flower's")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("watch out", UserWarning, stacklevel=1)
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("asyncio").exception("it broke")
    found = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in found] == ["round", "refused", "flwr", "py.warnings", "asyncio"]
    assert [line["level"] for line in found] == ["info", "warning", "warning", "warning", "error"]
    assert (found[0]["round"], found[0]["payload_up_bytes"]) == (3, 120)
    assert found[0]["time"].endswith("+00:00")
    assert (found[1]["reason"], found[1]["client"]) == ("é", "0")
    assert "ValueError: broken" in found[4]["trace"]


def test_people_get_their_lines_alone() -> None:
    """What is for machines only is not said, and nothing is said twice."""
    said: list[str] = []
    logs.to_people(said.append)
    logs.note("connected", "Connected to here.", server="here")
    logs.note("round", "Round 1.", quiet=True)
    logging.getLogger("phloem.device").warning("A task failed.")
    assert said == ["Connected to here.", "A task failed."]
