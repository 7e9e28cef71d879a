"""The services of docker-compose.yml's profile `flower` as processes here, tended like containers.

The commands are the file's own; host names and ports are mapped to free ones on loopback, secrets to
a folder.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

STOP_PATIENCE_S, LOOK_EVERY_S, RESTART_AFTER_S = 20.0, 0.5, 3.0
LISTENS = re.compile(r"--port=(\d+)|--health-server-address=127\.0\.0\.1:(\d+)")


def free_port() -> int:
    """Return a port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def local_commands(
    compose: Mapping[str, Any], secrets: Path, profile: str = "flower"
) -> tuple[dict[str, list[str]], dict[str, int]]:
    """Return the command of each of the profile's services for this machine, and the port each listens on."""
    services = {name: s for name, s in compose["services"].items() if profile in s.get("profiles", [])}
    ports: dict[tuple[str, str], int] = {}
    for name, service in services.items():
        for part in service["command"]:
            if match := LISTENS.fullmatch(part):
                ports[name, match[1] or match[2]] = free_port()

    def localise(name: str, part: str) -> str:
        part = part.replace("--host=0.0.0.0", "--host=127.0.0.1").replace("/run/secrets", str(secrets))
        for (service, port), local in ports.items():
            part = part.replace(f"{service}:{port}", f"127.0.0.1:{local}")
            if service == name:
                part = part.replace(f"--port={port}", f"--port={local}")
                part = part.replace(f"=127.0.0.1:{port}", f"=127.0.0.1:{local}")
        return part

    commands = {name: [localise(name, part) for part in s["command"]] for name, s in services.items()}
    return commands, {name: local for (name, _), local in reversed(ports.items())}


@dataclass
class Services:
    """Processes that are started again when they fail, until the context is left; then all are stopped."""

    commands: Mapping[str, list[str]]
    folder: Path
    env: Mapping[str, str]
    restarts: dict[str, int] = field(default_factory=dict)
    _running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _over: threading.Event = field(default_factory=threading.Event)
    _tending: threading.Thread | None = None

    def start(self, *names: str) -> None:
        """Start these services, each in a session of its own and with a log of its own."""
        for name in names:
            with (self.folder / f"{name}.log").open("ab") as log:
                self._running[name] = subprocess.Popen(
                    self.commands[name],
                    cwd=self.folder,
                    env=self.env,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )

    def pid(self, name: str) -> int:
        """Return the process id of a service, which is that of its session as well."""
        return self._running[name].pid

    def __enter__(self) -> Self:
        """Begin to tend what is started from here on."""
        self._tending = threading.Thread(target=self._tend, daemon=True)
        self._tending.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop all in the reverse order, each with whatever it started."""
        self._over.set()
        assert self._tending is not None
        self._tending.join()
        for process in reversed(self._running.values()):
            _signal(process, signal.SIGTERM)
        deadline = time.monotonic() + STOP_PATIENCE_S
        for process in self._running.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, deadline - time.monotonic()))
            _signal(process, signal.SIGKILL)
            process.wait()

    def _tend(self) -> None:
        """Start again what has failed; a SuperNode is refused until its key is known, and after a crash."""
        while not self._over.wait(LOOK_EVERY_S):
            for name, process in list(self._running.items()):
                if process.poll() is None:
                    continue
                _signal(process, signal.SIGKILL)  # what a dead SuperExec started must not answer for it
                if self._over.wait(RESTART_AFTER_S):
                    return
                self.restarts[name] = self.restarts.get(name, 0) + 1
                self.start(name)


def apps_of(session: int, program: str) -> list[int]:
    """Return the processes of a session that run this program; needs /proc."""
    found = []
    for folder in Path("/proc").iterdir():
        with suppress(OSError, ValueError, IndexError):
            after_name = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_bytes().split(b"\0")
            names = [Path(os.fsdecode(part)).name for part in command[:3]]
            if int(after_name[3]) == session and program in names:
                found.append(int(folder.name))
    return found


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)  # the group: a SuperExec's apps outlive it for a while
