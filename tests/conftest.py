"""What holds for every test: nothing leaves this machine or touches the user's home, no clock decides."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# Before Flower or Ray is imported by anybody, and inherited by every process that a test starts.
os.environ.update(
    FLWR_TELEMETRY_ENABLED="0",
    FLWR_DISABLE_UPDATE_CHECK="1",
    FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION="1",
    RAY_USAGE_STATS_ENABLED="0",
)

# A slow machine is not a wrong program: no deadline. The same examples every time: a red run can be repeated.
settings.register_profile("phloem", deadline=None, derandomize=True)
settings.load_profile("phloem")


@pytest.fixture(scope="session", autouse=True)
def _own_flower_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Flower keeps its state in a folder of this test run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLWR_HOME", str(tmp_path_factory.mktemp("flwr-home")))
        yield


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A connection to a public address fails the test that made it, even if a library swallows the error."""
    attempts: list[object] = []
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: tuple[str, int] | str) -> None:
        if self.type == socket.SOCK_STREAM and _is_public(address):
            attempts.append(address)
            raise OSError(f"tests stay on this machine, and {address} is not on it")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
    yield
    assert not attempts, f"the network was asked without the user asking for it: {attempts}"


def _is_public(address: tuple[str, int] | str) -> bool:
    if isinstance(address, str):
        return False  # a path: a Unix socket
    try:
        return ipaddress.ip_address(address[0]).is_global
    except ValueError:
        return address[0] != "localhost"


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout's own folder."""
    return Path(__file__).resolve().parent.parent
