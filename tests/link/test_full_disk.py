"""A disk that is really full: said in words, nothing is corrupt, and all goes on when there is room."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.link.full_disk import OWN_DISKS, why_not


def test_disks_that_are_really_full(tmp_path: Path) -> None:
    """A device's journal, a run's folder and the link's state, each on a small file system of its own."""
    if reason := why_not():
        pytest.skip(f"no small file system: {reason}")
    command = [*OWN_DISKS, sys.executable, "-m", "tests.link.full_disk", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    device, server, state_folder = json.loads(done.stdout.splitlines()[-1])

    assert device["codes"] == [True, True]
    assert "Make room on its disk; nothing was lost" in device["reason"]
    assert "Make room on its disk" in device["remembered"]
    assert "Make room on its disk" in device["opened"]
    assert device["kept"] == 1
    assert device["counted"] == [1, 2]  # what failed twice between counts once

    assert "disk" in server["told"].lower() or "space" in server["told"].lower()
    assert server["rounds"] == 2
    assert server["still"]
    assert server["same"]

    assert "Make room on its disk" in state_folder["told"]
    assert state_folder["same"]
