"""Two copies in turn: every damage is found out, and there is always a whole one."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from phloem.server.slots import Slots, any_in, load

FLIPS = 1000


def saved_thrice(folder: Path) -> Slots:
    slots = Slots(folder)
    for number in range(3):
        changed = (
            {"same": b"always" * 100, "new": bytes([number]) * 50}
            if number == 0
            else {"new": bytes([number]) * 50}
        )
        slots.save({"round": number}, changed, ["same", "new"])
    return slots


def flip(data: bytearray, rng: random.Random) -> None:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def cut(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def test_every_damage_to_the_newer_copy_is_found_out(tmp_path: Path) -> None:
    """Protects against bit rot: a thousand flips and cuts anywhere; each time the save before is taken."""
    saved_thrice(tmp_path / "x")
    rng = random.Random(0)
    files = sorted((tmp_path / "x" / "0").iterdir())
    for number in range(FLIPS):
        path = rng.choice(files)
        whole = path.read_bytes()
        data = bytearray(whole)
        damage: Callable[[bytearray, random.Random], None] = (flip, cut)[number % 2]
        damage(data, rng)
        path.write_bytes(bytes(data))
        assert [saved.facts["round"] for saved in load(tmp_path / "x")] == [1]
        path.write_bytes(whole)
    assert [saved.facts["round"] for saved in load(tmp_path / "x")] == [2, 1]


def test_the_copies_share_nothing(tmp_path: Path) -> None:
    """Protects the older copy: whatever happens to the folder of the newer one, it is whole."""
    saved_thrice(tmp_path / "x")
    shutil.rmtree(tmp_path / "x" / "0")
    [saved] = load(tmp_path / "x")
    assert saved.facts == {"round": 1}
    assert saved.parts == {"same": b"always" * 100, "new": bytes([1]) * 50}


def test_what_did_not_change_is_written_once_a_copy(tmp_path: Path) -> None:
    """Protects the cost of a save, which is that of what changed; and nothing old is left behind."""
    slots = saved_thrice(tmp_path / "x")
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "x").rglob("*") if path.is_file()}
    assert len(stamps) == 2 * 3
    for number in (3, 4):
        slots.save({"round": number}, {}, ["same", "new"])
    again = {path: path.stat().st_mtime_ns for path in (tmp_path / "x").rglob("*") if path.is_file()}
    assert len(again) == 6
    kept = set(stamps) & set(again)
    assert sum(path.stat().st_size == 600 and stamps[path] == again[path] for path in kept) == 2


def test_a_part_that_goes_back_is_there(tmp_path: Path) -> None:
    """Protects content that changes and changes back: each save holds exactly what it was given."""
    slots = Slots(tmp_path / "x")
    for number, data in enumerate([b"a", b"b", b"a", b"a", b"b", b"c", b"b", b"a"]):
        slots.save({"number": number}, {"part": data}, ["part"])
        found = load(tmp_path / "x")
        assert found[0].facts == {"number": number}
        assert found[0].parts == {"part": data}


@pytest.mark.parametrize("label", ["parts written", "manifest replaced"])
def test_a_save_that_breaks_off_leaves_two_whole_ones(label: str, tmp_path: Path) -> None:
    """Protects both copies from the one that is being written, and a next process from what it left."""

    class Crash(Exception):
        pass

    def reach(found: str) -> None:
        if found == label:
            raise Crash

    slots = saved_thrice(tmp_path / "x")
    slots.reach = reach
    with pytest.raises(Crash):
        slots.save({"round": 3}, {"new": b"?"}, ["same", "new"])
    rounds = [saved.facts["round"] for saved in load(tmp_path / "x")]
    assert rounds == ([2, 1] if label == "parts written" else [3, 2])
    newest = load(tmp_path / "x")[0]
    after = Slots(tmp_path / "x", number=newest.number + 1)
    after.save({"round": 9}, dict(newest.parts), newest.parts)
    assert [saved.facts["round"] for saved in load(tmp_path / "x")] == [9, newest.facts["round"]]


def test_a_folder_without_saves_is_empty(tmp_path: Path) -> None:
    """Protects the difference between a run that saved nothing and one whose saves are damaged."""
    assert load(tmp_path) == []
    assert not any_in(tmp_path)
    saved_thrice(tmp_path)
    (tmp_path / "0" / "MANIFEST").write_bytes(b"")
    assert any_in(tmp_path)
