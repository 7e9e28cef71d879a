"""Two complete copies on disk, written in turn: whatever happens to the newer one, the older is whole.

    FOLDER/0/  MANIFEST  PART PART ...      saves 0, 2, 4, ...
    FOLDER/1/  MANIFEST  PART PART ...      saves 1, 3, 5, ...

A part is a file named by the SHA-256 of its bytes, and is never changed; a manifest begins with the
SHA-256 of the rest of itself and names its parts by theirs, so no flipped or missing byte goes unseen.
The manifest is replaced in one step after its parts are on the disk, so a slot is the old save or the
new one. The slots share no file: what is the same in both is written twice, but in each only once.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MANIFEST = "MANIFEST"
SLOTS = 2

Reach = Callable[[str], None]
"""Called with a label wherever a crash leaves something of its own kind behind."""


def _go_on(label: str) -> None:
    """Pass the point."""


@dataclass(frozen=True)
class Saved:
    """What a slot holds: its number in the order of saves, and what was saved."""

    number: int
    facts: Mapping[str, Any]
    parts: Mapping[str, bytes]


@dataclass
class Slots:
    """The slots of a folder, and what this process knows to be in them."""

    folder: Path
    reach: Reach = _go_on
    number: int = 0
    """Number of the next save."""
    _names: dict[str, str] = field(default_factory=dict, init=False)
    _owed: list[dict[str, bytes]] = field(default_factory=lambda: [{} for _ in range(SLOTS)], init=False)
    _there: list[set[str]] = field(default_factory=lambda: [set() for _ in range(SLOTS)], init=False)

    def __contains__(self, name: str) -> bool:
        """Tell whether a part of this name was saved by this process, and so need not be given again."""
        return name in self._names

    def save(self, facts: Mapping[str, Any], changed: Mapping[str, bytes], names: Iterable[str]) -> None:
        """Save `facts` (JSON) and the parts `names`, of which `changed` are new or other than before.

        When this returns, the save is on the disk, through a crash of the machine.

        Raises:
            OSError: it could not be written; the saves before are as they were.
        """
        slot, place = self.number % SLOTS, self.folder / str(self.number % SLOTS)
        for name, data in changed.items():
            self._names[name] = sha = hashlib.sha256(data).hexdigest()
            for there, owed in zip(self._there, self._owed, strict=True):
                if sha not in there:
                    owed[sha] = data
        self._names = {name: self._names[name] for name in names}
        wanted = set(self._names.values())
        place.mkdir(parents=True, exist_ok=True)
        for sha, data in self._owed[slot].items():
            if sha in wanted:
                write_whole(place / sha, data)
        sync_folder(place)
        self.reach("parts written")
        text = json.dumps({"number": self.number, "parts": self._names, "facts": facts}, sort_keys=True)
        write_whole(place / MANIFEST, f"{hashlib.sha256(text.encode()).hexdigest()}\n{text}".encode())
        self.reach("manifest replaced")
        for folder in (place, self.folder, self.folder.parent):
            sync_folder(folder)
        self._there[slot], self._owed[slot] = wanted, {}
        self.number += 1
        for path in place.iterdir():
            if path.name not in wanted and path.name != MANIFEST:
                path.unlink()


def load(folder: Path) -> list[Saved]:
    """Return the whole saves in a folder, the newest first; those with any damage are left out."""
    found = [saved for slot in range(SLOTS) if (saved := _read(folder / str(slot))) is not None]
    return sorted(found, key=lambda saved: saved.number, reverse=True)


def any_in(folder: Path) -> bool:
    """Tell whether anything was ever saved in the folder, damaged or not."""
    return any((folder / str(slot) / MANIFEST).exists() for slot in range(SLOTS))


def clear(folder: Path) -> None:
    """Remove the slots."""
    shutil.rmtree(folder, ignore_errors=True)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file (write, fsync, rename): a reader sees the old one or the new one, never a half."""
    part = path.with_suffix(".part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make what a folder lists last through a crash; where a system has no such call, do nothing."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read(place: Path) -> Saved | None:
    try:
        digest, _, text = (place / MANIFEST).read_bytes().partition(b"\n")
        if hashlib.sha256(text).hexdigest().encode() != digest:
            return None
        manifest = json.loads(text)
        parts = {name: _part(place, sha) for name, sha in manifest["parts"].items()}
    except (OSError, ValueError):
        return None
    return Saved(manifest["number"], manifest["facts"], parts)


def _part(place: Path, sha: str) -> bytes:
    if not re.fullmatch("[0-9a-f]{64}", sha):
        raise ValueError(f"{sha!r} names no part")
    data = (place / sha).read_bytes()
    if hashlib.sha256(data).hexdigest() != sha:
        raise ValueError(f"the part {sha} is damaged")
    return data
