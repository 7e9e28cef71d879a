"""Flower's own engines carry the same run: on Ray and over sockets the bits are a simulation's."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from phloem.config import Experiment
from phloem.ledger import Ledger
from phloem.simulation.run import simulate
from phloem.summary import summarise

LOCAL_SUPERLINK_PORT = 39091  # Flower's, on every machine
PATIENCE_S, STOP_PATIENCE_S = 300, 30
SETTINGS = {"data.clients": 2, "run.rounds": 2, "model.hidden": 8, "server.clients_per_round": 0}
PARTS = {"submodel.widths": "1,0.5"}  # one client has the whole network, the other a part
LOAD_AT_ONCE = """
import sys, threading, time
from flwr.supercore.object_ref import load_app, validate
bundle, first, second = sys.argv[1:]
found = {}
def load(): found["load"] = load_app(first, ImportError, bundle)
def look(): found["look"] = validate(second, project_dir=bundle)
threads = [threading.Thread(target=load), threading.Thread(target=look)]
for thread in threads:
    thread.start()
    time.sleep(0.1)
for thread in threads:
    thread.join()
print(type(found["load"]).__name__, found["look"])
"""


def in_quotes(settings: dict[str, str]) -> dict[str, str]:
    return {key: f'"{value}"' for key, value in settings.items()}


def scripts() -> str:
    return os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)])


def components(root: Path) -> dict[str, str]:
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
    found: dict[str, str] = project["tool"]["flwr"]["app"]["components"]
    return found


@pytest.fixture
def sources(root: Path, tmp_path: Path) -> Path:
    """A copy of what a bundle is made of: whatever a run leaves behind, it does not leave in the checkout."""
    copy = tmp_path / "phloem-app"
    for folder in ("phloem", "client", "compression", "server", "simulation"):
        shutil.copytree(root / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__", "*.nb?"))
    for name in ("pyproject.toml", "LICENSE"):
        shutil.copy(root / name, copy / name)
    return copy


def test_the_apps_settings_are_an_experiments(root: Path) -> None:
    """Protects `flwr run -c`: Flower accepts no key that is not in pyproject.toml."""
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
    tree = project["tool"]["flwr"]["app"]["config"]
    expected = {**Experiment().to_flat(), "data.clients": 2, "run.rounds": 5}
    assert Experiment().with_values({"data.clients": 2, "run.rounds": 5}) == Experiment.model_validate(tree)
    found = dict(_flat(tree))
    assert found == expected
    assert {key: type(value) for key, value in found.items()} == {
        key: type(value) for key, value in expected.items()
    }


def _flat(tree: dict[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


@pytest.mark.parametrize("order", [("serverapp", "clientapp"), ("clientapp", "serverapp")])
def test_both_apps_are_found_while_one_is_being_loaded(
    order: tuple[str, str], root: Path, sources: Path
) -> None:
    """Protects `flwr run`: a simulation loads both apps at once, each in a thread, and misses neither.

    The package's own initialisation is slowed down here, so that the two always meet in it.
    """
    package = sources / "phloem" / "__init__.py"
    line = "from pathlib import Path\n"
    text = package.read_text("utf-8")
    assert text.count(line) == 1
    package.write_text(text.replace(line, line + "import time; time.sleep(1)\n"), "utf-8")
    first, second = (components(root)[name] for name in order)
    done = subprocess.run(
        [sys.executable, "-c", LOAD_AT_ONCE, str(sources), first, second],
        capture_output=True,
        text=True,
        check=False,
        cwd=sources.parent,
        timeout=PATIENCE_S,
    )
    assert done.stdout.split() == [f"{order[0].replace('app', '').title()}App", "(True,", "None)"], (
        done.stderr
    )


def pids_of(home: Path) -> list[int]:
    """The processes that were given this FLWR_HOME: those that a run of this test started, and no others."""
    mark = f"FLWR_HOME={home}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
    return [pid for pid in found if pid != os.getpid()]


def stop(home: Path) -> None:
    """Stop what Flower leaves running: its local SuperLink is detached and outlives `flwr run`."""
    deadline = time.monotonic() + STOP_PATIENCE_S
    while pids := pids_of(home):
        number = signal.SIGTERM if time.monotonic() < deadline - STOP_PATIENCE_S / 2 else signal.SIGKILL
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        assert time.monotonic() < deadline, f"processes {pids} do not end"
        time.sleep(0.2)


def somebody_listens() -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", LOCAL_SUPERLINK_PORT)) == 0


@pytest.mark.skipif(find_spec("ray") is None, reason='needs Flower\'s simulation: pip install "phloem[ray]"')
@pytest.mark.skipif(
    not Path("/proc/self/environ").exists(), reason="finds what Flower leaves running by /proc"
)
def test_on_ray_the_bits_are_the_same(sources: Path, tmp_path: Path) -> None:
    """Protects equal results on every carrier: `flwr run .` makes the run that is simulated here."""
    if somebody_listens():
        pytest.skip(
            f"another SuperLink has port {LOCAL_SUPERLINK_PORT}; Flower would use it, with its settings"
        )
    home, folder = tmp_path / "home", tmp_path / "run"
    settings = {**SETTINGS, "run.directory": f'"{folder}"', "model.hidden": '"8"', **in_quotes(PARTS)}
    with tempfile.TemporaryDirectory(prefix="ray") as scratch:  # short: its sockets' paths must be
        env = {
            **os.environ,
            "PATH": scripts(),
            "FLWR_HOME": str(home),
            "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
            "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1",
            "RAY_TMPDIR": scratch,
        }
        command = [
            *("flwr", "run", ".", "--stream"),
            *("--federation-config", "num-supernodes=2 client-resources-num-cpus=1"),
            *("--run-config", " ".join(f"{key}={value}" for key, value in settings.items())),
        ]
        try:
            done = subprocess.run(
                command, cwd=sources, env=env, capture_output=True, text=True, check=False, timeout=PATIENCE_S
            )
        finally:
            stop(home)
    assert (folder / "run.sqlite").exists(), done.stdout + done.stderr
    on_ray = summarise(folder)
    here = summarise(
        simulate(Experiment().with_values({**SETTINGS, **PARTS, "run.reference": False}), tmp_path / "here")
    )
    assert on_ray.rounds == 2, done.stdout + done.stderr
    assert on_ray.model_sha256 == here.model_sha256 is not None
    assert on_ray.ledger_sha256 == here.ledger_sha256
    with Ledger.open(folder / "run.sqlite") as ledger:
        assert ledger.facts()["carrier"] != "LocalGrid"
    assert not pids_of(home)


def test_over_sockets_the_bits_are_the_same(root: Path, tmp_path: Path) -> None:
    """Protects deployments: the services of docker-compose.yml, as processes here, make the same run."""
    folder = tmp_path / "run"
    settings = {**SETTINGS, "run.directory": f'"{folder}"', **in_quotes(PARTS)}
    before = {path.name for path in root.iterdir()} - {"__pycache__"}
    done = subprocess.run(
        [sys.executable, "scripts/edge.py", *(f"{key}={value}" for key, value in settings.items())],
        cwd=root,
        env={**os.environ, "PATH": scripts(), "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    deployed, simulated = summarise(folder), summarise(folder / "simulated")
    assert deployed.rounds == 2
    assert deployed.model_sha256 == simulated.model_sha256 is not None
    assert deployed.ledger_sha256 == simulated.ledger_sha256
    assert str(deployed.model_sha256) in done.stdout
    assert {path.name for path in root.iterdir()} - {"__pycache__"} == before, "left in the checkout"


Services = dict[str, dict[str, object]]


@pytest.fixture(scope="module")
def services() -> Services:
    """The services of docker-compose.yml."""
    text = (Path(__file__).resolve().parent.parent / "docker-compose.yml").read_text("utf-8")
    found: Services = yaml.safe_load(text)["services"]
    return found


def test_every_service_starts_a_program_that_there_is(services: Services) -> None:
    """Protects `docker compose up`: Flower renames its programs now and then, and a list needs no shell."""
    for name, service in services.items():
        command = service["command"]
        assert isinstance(command, list), name
        assert shutil.which(str(command[0]), path=scripts()), f"{name}: {command[0]}"


def test_nothing_is_published_beyond_this_host(services: Services) -> None:
    """Protects whoever tries it on a laptop: what is published is bound to loopback."""
    for name, service in services.items():
        ports = service.get("ports", [])
        assert isinstance(ports, list)
        assert all(str(port).startswith("127.0.0.1:") for port in ports), name
        assert service.get("network_mode") != "host", name


def test_nobody_speaks_in_the_clear(services: Services) -> None:
    """Protects the updates on their way: no service is told to do without TLS, and secrets are files."""
    for name, service in services.items():
        command = [str(part) for part in list(service["command"])]  # type: ignore[call-overload]
        assert "--insecure" not in command, name
        mounted = {f"/run/secrets/{secret}" for secret in list(service.get("secrets", []))}  # type: ignore[call-overload]
        used = {part.partition("=")[2] for part in command if "/run/secrets/" in part}
        assert used <= mounted, name


def test_every_container_has_no_more_rights_than_it_needs(services: Services) -> None:
    """Protects the host from a container that is taken over, and a run from a service that falls over."""
    for name, service in services.items():
        assert service["restart"] == "on-failure", name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["read_only"] is True, name
        assert {"mem_limit", "pids_limit"} <= service.keys(), name
        command = [str(part) for part in list(service["command"])]  # type: ignore[call-overload]
        # A device of the link listens to nobody: it is well as long as it runs.
        assert "healthcheck" in service or command[:2] == ["phloem", "join"], name
        assert not {"privileged", "cap_add", "user"} & service.keys(), name


def test_each_supernode_has_a_place_of_its_own(services: Services) -> None:
    """Protects the greeting: as many SuperNodes as they are told, each with a partition and a disk."""
    config = [
        str(part).removeprefix("--node-config=")
        for service in services.values()
        for part in list(service["command"])  # type: ignore[call-overload]
        if str(part).startswith("--node-config=")
    ]
    assert sorted(config) == [
        f'partition-id={i} num-partitions={len(config)} state="state/device-{i + 1}"'
        for i in range(len(config))
    ]


def test_docker_agrees(root: Path) -> None:
    """Protects against what YAML allows and Docker does not."""
    docker = shutil.which("docker")
    if (
        docker is None
        or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode
    ):
        pytest.skip("needs Docker with its compose plugin")
    done = subprocess.run(
        [docker, "compose", "config", "--quiet"], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
