"""The ledger: what it keeps, refuses and hashes, and what a kill leaves of it."""

from __future__ import annotations

import math
import shutil
import signal
import sqlite3
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import cast

import pytest

from phloem.errors import ConfigError, RunError
from phloem.ledger import Direction, Distillation, Evaluation, Ledger, Message, Rejection, Round, Row, Stage
from phloem.rows import TABLES
from phloem.stream_rows import AnomalyScores, Baseline, Concept, Drift, Mix, Reaction, Stream

MESSAGE = Message(1, "c0", "up", "train", "fp16", 0, 1, 500, 620, None, 1000, 0.01, None)
ROWS: tuple[Row, ...] = (
    MESSAGE,
    replace(MESSAGE, direction="down", payload_bytes=40, object_bytes=50, wire_bytes=70),
    replace(MESSAGE, kind="hello", payload_bytes=0, object_bytes=33, dense_bytes=1000),
    Stage(1, "c0", "up", 0, "dense", 1000),
    Stage(1, "c0", "up", 1, "frame", 500),
    Round(1, 1, 2, 1, 1, 0.5, 2.3, None),
    Evaluation(1, "test", 100, 1.5, 0.75),
    Rejection(1, "c1", "corrupt", "The frame's checksum is wrong."),
    Distillation(1, False, 1.5, 1.6, 0.75, 0.74),
    Stream(1, "c0", 32, 0, 32, 20, 1.1, "[30,2]", None, 1, 0, 4096),
    Drift(1, "c0", "scenario", 16, "swap"),
    Drift(1, "c0", "detector", 32, "1"),
    Concept(1, 0, 0, 100, 1.5, 0.75),
    AnomalyScores(1, "c0", '{"120":31}', '{"200":1}'),
    Reaction(1, "c0", "asked", 0),
)
BESIDE = Baseline(1, "majority", 32, 30, None)
MIX = Mix(1, "c0", "[30,2]")


def make(folder: Path, rows: tuple[Row, ...] = ROWS, **facts: str) -> Path:
    """Write a ledger into a folder and close it."""
    path = folder / "run.sqlite"
    with Ledger.create(path, {"seed": "7", **facts}) as ledger:
        ledger.record(*rows)
    return path


def digest(path: Path) -> str:
    """Return the hash of a closed ledger."""
    with Ledger.open(path) as ledger:
        return ledger.digest()


def folder(parent: Path, name: str) -> Path:
    """Make a folder for a second ledger."""
    made = parent / name
    made.mkdir()
    return made


def test_rows_come_back_equal(tmp_path: Path) -> None:
    """Protects the mapping between a row and its table, in both directions."""
    with Ledger.open(make(tmp_path)) as ledger:
        found: set[Row] = set()
        for table in TABLES:
            found.update(ledger.read(table))
        assert found == set(ROWS)
        assert ledger.facts() == {"seed": "7"}
        assert isinstance(ledger.read(Distillation)[0].accepted, bool)


def test_columns_are_the_fields(tmp_path: Path) -> None:
    """Protects against a field that lands in its neighbour's column."""
    with Ledger.open(make(tmp_path)) as ledger:
        for row_type, table in TABLES.items():
            columns = [name for (name,) in ledger.query("SELECT name FROM pragma_table_info(?)", table)]
            assert columns == [field.name for field in fields(row_type)]


def test_totals_count_dense_bytes_of_train_messages_only(tmp_path: Path) -> None:
    """Protects the saved ratio: a greeting costs bytes and saves none."""
    with Ledger.open(make(tmp_path)) as ledger:
        up, down = ledger.totals("up"), ledger.totals("down")
    assert (up.messages, up.payload_bytes, up.object_bytes, up.dense_bytes) == (2, 500, 653, 1000)
    assert (up.wire_bytes, down.wire_bytes) == (None, 70)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: type(row).__name__)
def test_a_row_twice_is_an_error(tmp_path: Path, row: Row) -> None:
    """Protects the sums against counting a message twice."""
    path = make(tmp_path)
    with Ledger.resume(path, last_round=1) as ledger, pytest.raises(RunError, match="UNIQUE"):
        ledger.record(row)


@pytest.mark.parametrize(
    "row",
    [
        replace(MESSAGE, payload_bytes=-1),
        replace(MESSAGE, object_bytes=-1),
        replace(MESSAGE, wire_bytes=-1),
        replace(MESSAGE, round=-1),
        replace(MESSAGE, seq=2**63),
        replace(MESSAGE, client="\ud800"),
        replace(MESSAGE, direction=cast(Direction, "sideways")),
        replace(MESSAGE, payload_bytes=cast(int, "many")),
        Stage(1, "c0", "up", 0, "dense", -4),
        Evaluation(1, "test", 10, 0.1, 1.5),
        Stream(1, "c0", 9, 0, 9, 10, 1.0, None, None, 0, 0, 0),
        Stream(1, "c0", 9, 0, 9, 9, 1.0, "[1,", None, 0, 0, 0),
        replace(BESIDE, correct=33),
        replace(BESIDE, pr_auc=1.01),
    ],
)
def test_impossible_rows_are_refused(tmp_path: Path, row: Row) -> None:
    """Protects the ledger from what no run can have done; the rows before it are kept."""
    with Ledger.create(tmp_path / "run.sqlite", {}) as ledger:
        ledger.record(Round(0, 0, 0, 0, 0, 0.0, None, None))
        with pytest.raises(RunError, match="did not take"):
            ledger.record(row)
        assert len(ledger.read(Round)) == 1


def test_a_diverged_loss_stays_not_a_number(tmp_path: Path) -> None:
    """Protects a diverged run from looking like one without a loss."""
    rows = (Evaluation(1, "test", 10, math.nan, 0.1), Evaluation(2, "test", 10, math.inf, 0.1))
    with Ledger.open(make(tmp_path, rows)) as ledger:
        first, second = ledger.read(Evaluation)
    assert math.isnan(first.loss)
    assert second.loss == math.inf


def test_digest_ignores_order_times_places_and_the_wire(tmp_path: Path) -> None:
    """Protects `same seed, same ledger hash` for any number of workers and any carrier."""
    moved = tuple(
        replace(row, encode_seconds=9.0, wire_bytes=9)
        if isinstance(row, Message)
        else replace(row, seconds=9.0)
        if isinstance(row, Round)
        else row
        for row in reversed(ROWS)
    )
    here = make(folder(tmp_path, "here"), directory="a", started_at="1", carrier="local", version_torch="2")
    there = make(folder(tmp_path, "there"), moved, directory="b", started_at="2", carrier="link")
    assert digest(here) == digest(there)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: type(row).__name__)
def test_digest_sees_every_row_and_fact(tmp_path: Path, row: Row) -> None:
    """Protects against a table that the hash forgets."""
    whole = digest(make(folder(tmp_path, "whole")))
    assert whole != digest(make(folder(tmp_path, "part"), tuple(r for r in ROWS if r is not row)))
    assert whole != digest(make(folder(tmp_path, "seed"), model_sha256="ab"))


def test_digest_leaves_out_what_was_made_beside_the_run(tmp_path: Path) -> None:
    """Protects one hash for a run, whatever it was compared with, and on carriers that compare nothing."""
    here, there = folder(tmp_path, "here"), folder(tmp_path, "there")
    assert digest(make(here)) == digest(make(there, (*ROWS, BESIDE, MIX), class_names='["a"]'))
    with Ledger.open(there / "run.sqlite") as ledger:
        assert (ledger.read(Baseline), ledger.read(Mix)) == ([BESIDE], [MIX])


def test_a_resumed_run_has_the_hash_of_an_unbroken_one(tmp_path: Path) -> None:
    """Protects resuming: rounds after the checkpoint are recorded again, not twice."""
    second = tuple(replace(row, round=2) for row in ROWS)
    whole, broken = (make(folder(tmp_path, name), ROWS + second) for name in ("whole", "broken"))
    with Ledger.resume(broken, last_round=1) as ledger:
        assert {row.round for row in ledger.read(Message)} == {1}
        ledger.record(*second)
    assert digest(whole) == digest(broken)


def test_an_error_keeps_committed_rounds_only(tmp_path: Path) -> None:
    """Protects readers from half a round."""
    path = tmp_path / "run.sqlite"

    def fail() -> None:
        with Ledger.create(path, {}) as ledger:
            ledger.record(Round(1, 1, 1, 1, 0, 0.1, None, None))
            ledger.commit()
            ledger.record(Round(2, 2, 1, 1, 0, 0.1, None, None))
            raise ValueError("broken off")

    with pytest.raises(ValueError, match="broken off"):
        fail()
    with Ledger.open(path) as ledger:
        assert [row.round for row in ledger.read(Round)] == [1]


def test_a_kill_between_commits_leaves_the_last_round_in_the_file_alone(tmp_path: Path) -> None:
    """Protects the last committed round: with or without the journal that a killed run leaves."""
    path = tmp_path / "run.sqlite"
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from phloem.ledger import Ledger, Round, Stage\n"
        "ledger = Ledger.create(Path(sys.argv[1]), {})\n"
        "ledger.record(Round(1, 1, 1, 1, 0, 0.1, None, None)); ledger.commit()\n"
        "ledger.record(*(Stage(2, f'client {i}', 'up', 0, 'x' * 300, 1) for i in range(20_000)))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    alone = folder(tmp_path, "alone") / "run.sqlite"
    shutil.copy(path, alone)
    for copy in (alone, path):
        with Ledger.open(copy) as ledger:
            assert [row.round for row in ledger.read(Round)] == [1]
            assert ledger.read(Stage) == []
            assert ledger.query("PRAGMA integrity_check") == [("ok",)]


def test_a_run_can_be_read_while_it_goes_on(tmp_path: Path) -> None:
    """Protects a look at a running simulation: it sees committed rounds and disturbs nothing."""
    path = tmp_path / "run.sqlite"
    with Ledger.create(path, {}) as writer:
        writer.record(Round(1, 1, 1, 1, 0, 0.1, None, None))
        with Ledger.open(path) as reader:
            assert reader.read(Round) == []
        writer.commit()
        with Ledger.open(path) as reader:
            assert len(reader.read(Round)) == 1
            with pytest.raises(sqlite3.OperationalError, match="readonly"):
                reader.query("DELETE FROM round")


def test_wrong_files_are_named(tmp_path: Path) -> None:
    """Protects the user: what was expected, what was found, what to do."""
    with pytest.raises(ConfigError, match="no file there"):
        Ledger.open(tmp_path / "run.sqlite")
    for name, content in {"text": b"a,b\n" * 500, "empty": b""}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ConfigError, match="another kind of file"):
            Ledger.open(tmp_path / name)
    other = sqlite3.connect(tmp_path / "other")
    other.execute("CREATE TABLE round (a)")
    other.close()
    with pytest.raises(ConfigError, match="another kind of file"):
        Ledger.open(tmp_path / "other")
    path = make(tmp_path)
    newer = sqlite3.connect(path)
    newer.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(ConfigError, match="Found format 99"):
        Ledger.open(path)


def test_damage_is_told(tmp_path: Path) -> None:
    """A file that opens and cannot be read is named; a wrong question stays one."""
    path = tmp_path / "run.sqlite"
    with Ledger.create(path, {"seed": "1"}) as ledger:
        ledger.record(*ROWS)
        with pytest.raises(sqlite3.OperationalError, match="no such table"):
            ledger.query("SELECT * FROM absent")
    raw = path.read_bytes()
    path.write_bytes(raw[:4096] + b"\xa5" * (len(raw) - 4096))
    with pytest.raises(RunError, match=r"run\.sqlite should be whole"), Ledger.open(path) as ledger:
        ledger.read(Message)


def test_a_ledger_is_never_overwritten(tmp_path: Path) -> None:
    """Protects an earlier run in the same folder."""
    make(tmp_path)
    with pytest.raises(ConfigError, match="Choose another run folder"):
        make(tmp_path)
    with pytest.raises(ConfigError, match="Make it first"):
        make(tmp_path / "absent")
