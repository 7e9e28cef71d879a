"""What Flower's own engine costs for the same exchange: a SuperLink and SuperNodes behind TLS, as they come.

Bytes are those that crossed a counting proxy before each SuperNode, between the end of the first round and
the end of the last: joining and fetching the app, which the link's figures contain, are left out. It is idle
when the run is over, and the next one has not begun.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from phloem.errors import RunError
from phloem.server.link.authority import key_pem, open_authority, write_secret
from phloem.server.link.bench import REST_S, Measured, Plan, RoundCost, summed
from phloem.tap import Tap

HERE = "127.0.0.1"
PATIENCE_S = 600.0
QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1",  # the quickest it can be
}
PROJECT = """[build-system]
requires = ["setuptools>=70"]
build-backend = "setuptools.build_meta"
[project]
name = "echo"
version = "1.0.0"
license = { file = "LICENSE" }
dependencies = ["flwr>=1.41"]
[tool.flwr.app]
publisher = "local"
fab-format-version = 1
flwr-version-target = "1.41.0"
[tool.flwr.app.components]
serverapp = "echo.server_app:app"
clientapp = "echo.client_app:app"
[tool.flwr.app.config]
rounds = 1
nodes = 1
bytes = 0
marks = ""
"""
SERVER = '''"""Sends bytes, waits for as many, and writes down when a round was over."""
import os, time
from flwr.app import Array, ArrayRecord, Message, RecordDict
from flwr.serverapp import ServerApp
app = ServerApp()
@app.main()
def main(grid, context):
    c = context.run_config
    while len(list(grid.get_node_ids())) < c["nodes"]:
        time.sleep(0.2)
    for _ in range(c["rounds"]):
        blob = os.urandom(c["bytes"])
        content = RecordDict({"u": ArrayRecord({"b": Array("bytes", (len(blob),), "b", blob)})})
        replies = list(grid.send_and_receive([Message(content, n, "train") for n in grid.get_node_ids()]))
        assert len(replies) == c["nodes"] and not any(r.has_error() for r in replies), replies
        with open(c["marks"], "a") as marks:
            print(time.time(), file=marks)
'''
CLIENT = '''"""Answers bytes with as many."""
import os
from flwr.app import Array, ArrayRecord, Message, RecordDict
from flwr.clientapp import ClientApp
app = ClientApp()
@app.train()
def train(message, context):
    blob = os.urandom(len(message.content["u"]["b"].data))
    content = RecordDict({"u": ArrayRecord({"b": Array("bytes", (len(blob),), "b", blob)})})
    return Message(content, reply_to=message)
'''


def measure(plan: Plan) -> Measured:
    """Return what each SuperNode cost.

    Raises:
        RunError: the engine did not finish the run.
    """
    with tempfile.TemporaryDirectory(prefix="phloem-flower-") as scratch, ExitStack() as stack:
        folder = Path(scratch)
        env, flags = _prepare(folder)
        port, marks = _free_port(), folder / "marks"
        running = stack.enter_context(_processes(folder, env))
        running.start(
            "flower-superlink", *flags, f"--port={port}", "--disable-runtime-dependency-installation"
        )
        (folder / "home" / "config.toml").write_text(
            f'[superlink]\ndefault = "bench"\n[superlink.bench]\naddress = "{HERE}:{port}"\n'
            f'root-certificates = "{folder / "authority.pem"}"\n'
        )
        _wait_for(port)
        taps = [stack.enter_context(Tap(HERE, port)) for _ in range(plan.devices)]
        nodes = [
            running.start(
                "flower-supernode",
                f"--root-certificates={folder / 'authority.pem'}",
                f"--superlink={HERE}:{tap.port}",
                f"--port={_free_port()}",
            )
            for tap in taps
        ]
        config = f'rounds={plan.rounds} nodes={plan.devices} bytes={plan.payload_bytes} marks="{marks}"'
        command = ["flwr", "run", str(folder / "app"), "bench", "--run-config", config]
        done = subprocess.run(
            command, env=env, capture_output=True, text=True, check=False, timeout=PATIENCE_S
        )
        if done.returncode:
            raise RunError(f"`flwr run` failed: {done.stdout[-500:]}{done.stderr[-500:]}")
        return _watch(plan, marks, taps, nodes)


def _watch(plan: Plan, marks: Path, taps: list[Tap], nodes: list[subprocess.Popen[bytes]]) -> Measured:
    """Follow the rounds as they end; sample memory meanwhile."""
    peaks = [0.0] * len(nodes)
    wire, rows = [(0, 0)] * len(nodes), list[list[RoundCost]]([] for _ in nodes)
    deadline, last = time.monotonic() + PATIENCE_S, 0.0

    def hold() -> list[float]:
        held = [sum(_rss_mb(pid) for pid in _tree(node.pid)) for node in nodes]
        peaks[:] = [max(pair) for pair in zip(peaks, held, strict=True)]
        return held

    while len(rows[0]) < plan.rounds:
        if time.monotonic() > deadline:
            raise RunError(f"Flower's engine should finish {plan.rounds} rounds. Found {len(rows[0])}.")
        held = hold()
        times = marks.read_text().split() if marks.exists() else []
        for moment in times[len(rows[0]) :]:
            for node, tap in enumerate(taps):
                before, wire[node] = wire[node], (tap.up, tap.down)
                up, down = wire[node][0] - before[0], wire[node][1] - before[1]
                number, seconds = len(rows[node]) + 1, float(moment) - last if last else 0.0
                row = ("supernode", "echo", node, number, plan.payload_bytes, up, down, seconds, held[node])
                rows[node].append(RoundCost(*row))
            last = float(moment)
        time.sleep(0.05)
    time.sleep(REST_S)
    before_idle, began = [tap.up + tap.down for tap in taps], time.monotonic()
    time.sleep(plan.idle_s)
    elapsed, at_rest = time.monotonic() - began, hold()
    idle = [(tap.up + tap.down - b) / elapsed for tap, b in zip(taps, before_idle, strict=True)]
    found = [
        summed(
            rows[node][1:],
            at_rest[node],
            peaks[node],
            idle[node] if plan.idle_s else None,
            f"{plan.rounds - 1} rounds, without the first",
        )
        for node in range(plan.devices)
    ]
    return Measured([row for node in rows for row in node], found)


class _Processes:
    """What was started, each with whatever it starts in turn."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self.folder, self.env, self.running = folder, env, list[subprocess.Popen[bytes]]()

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{len(self.running)}.log").open("wb") as log:
            process = subprocess.Popen(
                command, cwd=self.folder, env=self.env, stdout=log, stderr=log, start_new_session=True
            )
        self.running.append(process)
        return process


@contextmanager
def _processes(folder: Path, env: dict[str, str]) -> Iterator[_Processes]:
    processes = _Processes(folder, env)
    try:
        yield processes
    finally:
        for process in reversed(processes.running):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        time.sleep(1.0)
        for process in processes.running:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _prepare(folder: Path) -> tuple[dict[str, str], list[str]]:
    """Write the app, the certificates and Flower's home; return the environment and the SuperLink's flags."""
    package = folder / "app" / "echo"
    package.mkdir(parents=True)
    (folder / "home").mkdir()
    for name, text in (("__init__.py", ""), ("server_app.py", SERVER), ("client_app.py", CLIENT)):
        (package / name).write_text(text)
    (folder / "app" / "pyproject.toml").write_text(PROJECT)
    (folder / "app" / "LICENSE").write_text("for the measurement only\n")
    authority, key = open_authority(folder), ec.generate_private_key(ec.SECP256R1())
    write_secret(folder / "server.key", key_pem(key))
    (folder / "server.pem").write_bytes(authority.issue_server(key, ("localhost",), (HERE,)))
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    env = {**os.environ, **QUIET, "FLWR_HOME": str(folder / "home"), "PATH": path}
    flags = [
        f"--ssl-ca-certfile={folder / 'authority.pem'}",
        f"--ssl-certfile={folder / 'server.pem'}",
        f"--ssl-keyfile={folder / 'server.key'}",
        f"--host={HERE}",
    ]
    return env, flags


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection((HERE, port), 1):
            return
        time.sleep(0.2)
    raise RunError("The SuperLink should listen. It does not.")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HERE, 0))
        return int(probe.getsockname()[1])


def _tree(pid: int) -> list[int]:
    """Return a process and its descendants."""
    found = [pid]
    for parent in found:
        with suppress(OSError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found


def _rss_mb(pid: int) -> float:
    with suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    return 0.0
