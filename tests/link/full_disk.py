"""Disks that are really full: a device's journal and a server's run folder, each alone on a tiny file system.

Run by `test_full_disk.py` in a mount namespace of its own, so that nothing is left on the machine.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from flwr.app import ConfigRecord, RecordDict

from phloem.client.journal import Journal
from phloem.client.link.node import NOT_KEPT, Node, Setup
from phloem.config import Experiment
from phloem.errors import PhloemError, RunError
from phloem.link.records import to_content
from phloem.link.stream import parse
from phloem.proto import link_pb2
from phloem.server.link.authority import open_authority
from phloem.server.link.registry import Registry
from phloem.simulation.run import Progress, resume, simulate
from phloem.summary import summarise
from tests.link.rig import counting_app

OWN_DISKS = ("unshare", "--user", "--map-root-user", "--mount")
EXPERIMENT = Experiment().with_values(
    {"data.clients": 2, "model.hidden": 8, "client.epochs": 1, "run.rounds": 4, "run.reference": False}
)


def why_not() -> str:
    """Return why a small file system cannot be had here; nothing if it can."""
    if shutil.which("unshare") is None:
        return "no unshare here"
    probe = [*OWN_DISKS, "sh", "-c", "mount -t tmpfs -o size=64k none /mnt"]
    done = subprocess.run(probe, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else f"not permitted here: {done.stderr.strip()}"


def small_disk(folder: Path, size: str) -> Path:
    """Return a folder that is a file system of its own."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)], check=True)
    return folder


def fill(folder: Path) -> Path:
    """Use up every byte that is left, and return the file that does."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    assert os.statvfs(folder).f_bavail == 0
    return ballast


def device(folder: Path) -> dict[str, object]:
    """Fill a device's disk between two tasks: the answer says so, nothing is lost, and it goes on after."""
    disk = small_disk(folder, "512k")
    record = RecordDict({"run": ConfigRecord({}), "node": ConfigRecord({"partition-id": 0})})
    setup = Setup(7, 3, to_content(record)[0].SerializeToString())
    content, _ = to_content(RecordDict({"asked": ConfigRecord({"number": 1})}))
    head = link_pb2.TaskHead(type="train", ttl=60.0, content=content).SerializeToString()

    def ask(node: Node, number: int) -> link_pb2.Content:
        found = link_pb2.Content()
        parse(found, node.answer(number, head, ())[0])
        return found

    with Journal(disk / "journal.sqlite") as journal:
        node = Node(counting_app(), journal)
        node.begin(setup)
        first = ask(node, 1)
        ballast = fill(disk)
        full = ask(node, 2)
        again = ask(node, 2)
        try:
            journal.remember("settings", bytes(50_000))
            told = ""
        except RunError as error:
            told = str(error)
        state = journal.state(7)
        ballast.unlink()
        later = ask(node, 2)
    try:
        fill(disk)
        (disk / "journal.sqlite").rename(disk / "old")
        Journal(disk / "journal.sqlite").close()
        opened = ""
    except PhloemError as error:
        opened = f"{type(error).__name__}: {error}"
    return {
        "counted": [_count(first), _count(later)],
        "codes": [full.error.code == NOT_KEPT, again.error.code == NOT_KEPT],
        "reason": full.error.reason,
        "remembered": told,
        "opened": opened,
        "kept": len(state),
    }


def server(folder: Path) -> dict[str, object]:
    """Fill the disk of a run's folder in mid-run: the run ends with a text, and goes on to the same bits."""
    undisturbed = summarise(simulate(EXPERIMENT, folder.parent / "undisturbed"))
    disk = small_disk(folder, "8m")
    run, ballast = disk / "run", list[Path]()

    def on_progress(done: Progress) -> None:
        if done.report.round == 2:
            ballast.append(fill(disk))

    try:
        simulate(EXPERIMENT, run, on_progress=on_progress)
        told = ""
    except (PhloemError, OSError) as error:
        told = f"{type(error).__name__}: {error}"
    broken = summarise(run)
    try:
        resume(run)
        still = ""
    except (PhloemError, OSError) as error:
        still = f"{type(error).__name__}: {error}"
    ballast[0].unlink()
    found = summarise(resume(run))
    return {
        "told": told,
        "rounds": broken.rounds,
        "still": still,
        "same": (found.model_sha256, found.ledger_sha256)
        == (undisturbed.model_sha256, undisturbed.ledger_sha256),
    }


def state_folder(folder: Path) -> dict[str, object]:
    """Fill the disk of the link's own folder: a token cannot be made, then it can."""
    disk = small_disk(folder, "512k")
    authority = open_authority(disk)
    registry = Registry(disk / "registry.sqlite")
    registry.make_token(0, 1.0)
    ballast = fill(disk)
    try:
        for place in range(1, 200):
            registry.make_token(place, 1.0)
        told = ""
    except RunError as error:
        told = str(error)
    ballast.unlink()
    registry.make_token(200, 1.0)
    same = open_authority(disk).pin == authority.pin
    registry.close()
    return {"told": told, "same": same}


def _count(content: link_pb2.Content) -> int:
    [record] = content.records
    return {value.name: value.whole for value in record.config.values}["count"]


if __name__ == "__main__":
    home = Path(sys.argv[1])
    reports = [do(home / do.__name__) for do in (device, server, state_folder)]
    print(json.dumps(reports))
