"""A device's journal holds state and answer together, or neither, and what was there before."""

from __future__ import annotations

from pathlib import Path

import pytest

from phloem.client.journal import Journal
from phloem.errors import ConfigError, RunError

RUN = 7


def test_state_and_answer_outlive_the_process(tmp_path: Path) -> None:
    """What was committed is there after a restart, in order, with the epoch it had."""
    with Journal(tmp_path / "journal.sqlite") as journal:
        epoch = journal.epoch
        journal.state(RUN)
        journal.commit(RUN, 1, {"b": b"1", "a": b"2"}, b"first")
        journal.commit(RUN, 2, {"b": b"3", "a": b"2"}, b"second")
    with Journal(tmp_path / "journal.sqlite") as journal:
        assert list(journal.state(RUN).items()) == [("b", b"3"), ("a", b"2")]
        assert [journal.answer(RUN, task) for task in (1, 2, 3)] == [b"first", b"second", None]
        assert journal.answered(RUN) == [1, 2]
        assert journal.epoch == epoch


def test_a_new_journal_has_a_new_epoch(tmp_path: Path) -> None:
    """A server tells by it that a disk was lost."""
    with Journal(tmp_path / "1" / "j.sqlite") as one, Journal(tmp_path / "2" / "j.sqlite") as two:
        assert one.epoch != two.epoch


def test_settled_answers_go(tmp_path: Path) -> None:
    """A journal does not grow with the number of rounds."""
    with Journal(tmp_path / "journal.sqlite") as journal:
        for task in range(1, 50):
            journal.settle(task)
            journal.commit(RUN, task, {"a": b"%d" % task}, b"answer")
        assert journal.answered(RUN) == [49]


def test_another_run_begins_with_nothing(tmp_path: Path) -> None:
    """State is one run's; the first commit of the next one removes it."""
    with Journal(tmp_path / "journal.sqlite") as journal:
        journal.commit(RUN, 1, {"a": b"1"}, b"answer")
        assert journal.state(RUN + 1) == {}
        journal.commit(RUN + 1, 2, {"a": b"1"}, b"other")
        assert journal.state(RUN) == {}
        assert journal.answered(RUN) == []
        assert journal.state(RUN + 1) == {"a": b"1"}


def test_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    """The state before is there, whole, and the error says what to do."""
    with Journal(tmp_path / "journal.sqlite") as journal:
        journal.commit(RUN, 1, {"a": b"before"}, b"answer")
        pages = journal._sqlite.execute("PRAGMA page_count").fetchone()[0]
        journal._sqlite.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(RunError, match="Make room"):
            journal.commit(RUN, 2, {"a": bytes(1_000_000)}, b"answer")
        assert journal.state(RUN) == {"a": b"before"}
        assert journal.answer(RUN, 2) is None
        journal.commit(RUN, 2, {"a": b"after"}, b"answer")
        assert journal.state(RUN) == {"a": b"after"}


def test_damage_is_told(tmp_path: Path) -> None:
    """A file that opens and cannot be read is named, not shown as where this program stumbled."""
    path = tmp_path / "journal.sqlite"
    with Journal(path) as journal:
        journal.commit(RUN, 1, {"a": bytes(50_000)}, b"answer")
    raw = path.read_bytes()
    path.write_bytes(raw[:4096] + b"\xa5" * (len(raw) - 4096))
    with pytest.raises(ConfigError, match=r"journal\.sqlite"), Journal(path) as journal:
        journal.state(RUN)


def test_another_file_is_refused(tmp_path: Path) -> None:
    """What is no journal is not overwritten."""
    path = tmp_path / "journal.sqlite"
    path.write_bytes(b"my thesis" * 1000)
    with pytest.raises(ConfigError, match="should be a file phloem can write"):
        Journal(path)
    assert path.read_bytes() == b"my thesis" * 1000
