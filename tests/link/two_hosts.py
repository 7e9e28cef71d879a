"""Server and device on two hosts of one machine: a network namespace each, a pair of interfaces between them.

`python -m tests.link.two_hosts` is the long form: narrow, lossy and broken networks, and what each costs.
The parent re-runs itself in namespaces of its own (unshare), so nothing is left on the machine and no rights
are needed but that. Bytes are the kernel's count of the interface, headers of Ethernet, IP and TCP included.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from phloem.config import Experiment

SERVER, DEVICE = "10.77.0.1", "10.77.0.2"
PORT = 8470
FIRST = 2
"""After so many rounds the bytes are compared; then the weather begins."""

SETTINGS: dict[str, Any] = {
    "data.clients": 1,
    "model.hidden": 8,
    "client.epochs": 1,
    "run.rounds": 4,
    "run.reference": False,
}
OWN_NETWORK = ("unshare", "--user", "--map-root-user", "--net")
DEVICE_PROGRAM = """
import asyncio, sys
from pathlib import Path
from phloem.client.link.enrol import enrol
from phloem.client.link.join import attend
from phloem.client.link.session import Patience
member = enrol(Path(sys.argv[1]).read_text(), Path(sys.argv[2]), "device")
print("joined", flush=True)
sys.stdin.readline()
patience = Patience(first_s=0.1, most_s=1.0, stay=False)
attend(member, Path(sys.argv[2]), "phloem.client.app:app", {}, patience=patience)
"""


@dataclass(frozen=True)
class Weather:
    """What the network does after round `FIRST`."""

    rate_kbit: int = 0
    """0 for as fast as it goes."""
    loss_percent: int = 0
    """Of the packets each way."""
    partition_s: float = 0.0
    """For so long nothing passes at all."""


@dataclass
class Seen:
    """What was counted at the server's interface up to a moment: from the device and to it."""

    up_bytes: int = 0
    down_bytes: int = 0
    up_packets: int = 0
    down_packets: int = 0

    def __sub__(self, before: Seen) -> Seen:
        return Seen(*(a - b for a, b in zip(asdict(self).values(), asdict(before).values(), strict=True)))


@dataclass
class Report:
    """How a run went."""

    model_sha256: str = ""
    ledger_sha256: str = ""
    seconds: float = 0.0
    fair: Seen = field(default_factory=Seen)
    """At the interface, from the device's connection to the end of round `FIRST`."""
    wire: dict[str, int] = field(default_factory=dict)
    """In the ledger, over the same time."""
    payload: dict[str, int] = field(default_factory=dict)
    all: Seen = field(default_factory=Seen)
    all_wire: dict[str, int] = field(default_factory=dict)


def why_not(*tools: str) -> str:
    """Return why this cannot be tried here; nothing if it can."""
    for tool in ("unshare", "nsenter", "ip", *tools):
        if shutil.which(tool) is None:
            return f"no {tool} here"
    probe = "ip link add near type veth peer name far && unshare --net true"
    if "tc" in tools:
        probe += " && tc qdisc add dev near root tbf rate 1mbit burst 4kb latency 100ms"
    if "nft" in tools:
        probe += (
            " && nft add table inet t && nft add chain inet t c '{ type filter hook input priority 0; }'"
            " && nft add rule inet t c numgen random mod 100 '<' 5 drop"
        )
    done = subprocess.run([*OWN_NETWORK, "sh", "-c", probe], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else f"not permitted here: {done.stderr.strip() or done.returncode}"


def run(folder: Path, weather: Weather, timeout_s: float = 300.0) -> dict[str, Any]:
    """Run the experiment between two hosts and return the report, as JSON has it."""
    arguments = [str(folder), json.dumps(asdict(weather))]
    command = [*OWN_NETWORK, sys.executable, "-m", "tests.link.two_hosts", "--inside", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout_s)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _inside(folder: Path, weather: Weather) -> Report:
    from phloem.ledger import Ledger
    from phloem.link.pages import Address
    from phloem.server.link.run import Front, Listener, serve_link
    from phloem.server.link.tally import tally
    from phloem.summary import LEDGER_NAME, summarise

    experiment, report, began = Experiment().with_values(SETTINGS), Report(), time.monotonic()
    directory = folder / "run"
    with subprocess.Popen(["unshare", "--net", "sleep", "infinity"]) as other:
        try:
            _connect(other.pid)
            device: list[subprocess.Popen[str]] = []
            before: list[Seen] = []

            def on_token(place: int, token: str, file: Path) -> None:
                command = [sys.executable, "-c", DEVICE_PROGRAM, str(file), str(folder / "device")]
                log = (folder / "device.log").open("w")
                device.append(
                    subprocess.Popen(
                        ["nsenter", f"--target={other.pid}", "--net", *command],
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        stderr=log,
                        text=True,
                    )
                )
                threading.Thread(target=begin).start()

            def begin() -> None:
                [process] = device
                assert process.stdout is not None
                assert process.stdin is not None
                assert process.stdout.readline() == "joined\n", (folder / "device.log").read_text()
                time.sleep(1.5)  # the enrolment's connection has been put away
                before.append(_seen())
                process.stdin.write("\n")
                process.stdin.flush()

            def on_round(done: Any, found: Any) -> None:
                if done.round == FIRST:
                    report.fair = _seen() - before[0]
                    tallies = [tally(directory / LEDGER_NAME, n) for n in range(FIRST + 1)]
                    for way in ("up", "down"):
                        report.wire[way] = sum(t.wire_bytes.get(way, 0) for t in tallies)
                        report.payload[way] = sum(t.payload_bytes.get(way, 0) for t in tallies)
                    _begin(weather, other.pid)

            front = Front(folder / "server", Address(SERVER, PORT))
            serve_link(experiment, directory, front, Listener(on_token=on_token, on_round=on_round))
            report.all = _seen() - before[0]
            _calm(other.pid)
            assert device[0].wait(60) == 0, (folder / "device.log").read_text()
        finally:
            other.kill()
    summary = summarise(directory)
    report.model_sha256, report.ledger_sha256 = summary.model_sha256 or "", summary.ledger_sha256
    with Ledger.open(directory / LEDGER_NAME) as ledger:
        report.all_wire = {
            "up": ledger.totals("up").wire_bytes or 0,
            "down": ledger.totals("down").wire_bytes or 0,
        }
    report.seconds = time.monotonic() - began
    return report


def _connect(other: int) -> None:
    """Make the wire: `near` here, `far` there."""
    _do("sysctl -q -w net.ipv6.conf.all.disable_ipv6=1", must=False)  # it would talk to itself
    _do("ip link set lo up")
    deadline = time.monotonic() + 10
    while Path(f"/proc/{other}/ns/net").readlink() == Path("/proc/self/ns/net").readlink():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    _there(other, "sysctl -q -w net.ipv6.conf.all.disable_ipv6=1", must=False)
    _do(f"ip link add near type veth peer name far netns {other}")
    _do(f"ip addr add {SERVER}/24 dev near")
    _do("ip link set near up")
    for command in ("ip link set lo up", f"ip addr add {DEVICE}/24 dev far", "ip link set far up"):
        _there(other, command)


def _begin(weather: Weather, other: int) -> None:
    for interface, do in (("near", _do), ("far", lambda text: _there(other, text))):
        if weather.rate_kbit:
            do(f"tc qdisc add dev {interface} root tbf rate {weather.rate_kbit}kbit burst 4kb latency 400ms")
        if weather.loss_percent or weather.partition_s:
            do("nft add table inet weather")
            do("nft add chain inet weather in { type filter hook input priority 0 ; }")
        if weather.loss_percent:
            do(f"nft add rule inet weather in numgen random mod 100 < {weather.loss_percent} drop")
        if weather.partition_s:
            do("nft add rule inet weather in drop")
    if weather.partition_s:
        threading.Timer(weather.partition_s, _calm, [other]).start()


def _calm(other: int) -> None:
    for do in (_do, lambda text, must: _there(other, text, must=must)):
        do("nft delete table inet weather", must=False)


def _seen() -> Seen:
    # Not /sys/class/net: that shows the namespace in which it was mounted.
    [link] = json.loads(subprocess.check_output(["ip", "-s", "-j", "link", "show", "near"]))
    rx, tx = link["stats64"]["rx"], link["stats64"]["tx"]
    return Seen(rx["bytes"], tx["bytes"], rx["packets"], tx["packets"])


def _do(text: str, *, must: bool = True) -> None:
    _run(text.split(), must)


def _there(other: int, text: str, *, must: bool = True) -> None:
    _run(["nsenter", f"--target={other}", "--net", *text.split()], must)


def _run(command: Sequence[str], must: bool) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 or not must, f"{command}: {done.stderr}"


MATRIX = [
    Weather(),
    *(Weather(rate, loss) for rate in (64, 256, 1000) for loss in (0, 1, 5, 10)),
    Weather(partition_s=30.0),
]


def _long() -> int:
    from phloem.simulation.run import simulate
    from phloem.summary import summarise

    if reason := why_not("tc", "nft"):
        print(f"two hosts: {reason}")
        return 0
    failed = 0
    with tempfile.TemporaryDirectory() as scratch:
        wanted = summarise(simulate(Experiment().with_values(SETTINGS), Path(scratch) / "simulated"))
        for number, weather in enumerate(MATRIX):
            folder = Path(scratch) / str(number)
            folder.mkdir()
            found = run(folder, weather, 600)
            hashes = (wanted.model_sha256, wanted.ledger_sha256)
            same = (found["model_sha256"], found["ledger_sha256"]) == hashes
            failed += not same
            wire = sum(found["all_wire"].values())
            there = found["all"]["up_bytes"] + found["all"]["down_bytes"]
            asked = f"{weather.rate_kbit or '-':>5} kbit/s, {weather.loss_percent:>2} % lost"
            asked += f", cut for {weather.partition_s:.0f} s" if weather.partition_s else ""
            came = f"{found['seconds']:6.1f} s, ledger {wire} B, interface {there} B"
            print(f"{asked}: {came}, {'same hashes' if same else 'OTHER HASHES'}", flush=True)
    return 3 if failed else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        print(json.dumps(asdict(_inside(Path(sys.argv[2]), Weather(**json.loads(sys.argv[3]))))))
    else:
        sys.exit(_long())
