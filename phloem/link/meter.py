"""Bytes at the socket: what the kernel counted for one connection, TLS and HTTP/2 included.

gRPC counts nothing itself, but its sockets are this process's. Headers of TCP and IP are not in the figures.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

_RECEIVED, _SENT = 128, 200
"""Offsets of `tcpi_bytes_received` and `tcpi_bytes_sent` (Linux 4.19) in the kernel's struct tcp_info."""


class Meter:
    """The counters of the connection to one peer; all zero, and `works` false, where the system has none."""

    def __init__(self, peer: str) -> None:
        """Find the connection; `peer` as gRPC writes it, `ipv4:192.0.2.1:50000`, or `*:PORT` for any host."""
        self._peer = unquote(peer)
        self._fd = _find(self._peer) if sys.platform == "linux" else None
        self.up = self.down = 0

    @property
    def works(self) -> bool:
        """Whether there is something to read."""
        return self._fd is not None

    def totals(self) -> tuple[int, int] | None:
        """Return how many bytes came and went since the connection was made; None once it is gone."""
        return None if self._fd is None else _counters(self._fd, self._peer)

    def read(self) -> tuple[int, int]:
        """Return how many bytes came and went since the last call."""
        counters = self.totals()
        if counters is None:
            return 0, 0
        step = counters[0] - self.up, counters[1] - self.down
        self.up, self.down = counters
        return step


def _find(peer: str) -> int | None:
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            if os.readlink(entry).startswith("socket:") and _counters(int(entry.name), peer) is not None:
                return int(entry.name)
    return None


def _counters(fd: int, peer: str) -> tuple[int, int] | None:
    # On a copy of the descriptor, closed at once: gRPC may close its own and another take the number.
    # It may have done so already: a copy of what is no socket, such as a locked file, must not stay open.
    with suppress(OSError, struct.error), _copy(fd) as connection:
        name = _name(connection) if connection.type == socket.SOCK_STREAM else ""
        if name != peer and not (peer.startswith("*") and name.endswith(peer[1:])):
            return None
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        [received], [sent] = struct.unpack_from("=Q", info, _RECEIVED), struct.unpack_from("=Q", info, _SENT)
        return received, sent
    return None


def _copy(fd: int) -> socket.socket:
    copy = os.dup(fd)
    try:
        return socket.socket(fileno=copy)
    except OSError:
        os.close(copy)
        raise


def _name(connection: socket.socket) -> str:
    if connection.family == socket.AF_INET:
        host, port = connection.getpeername()
        return f"ipv4:{host}:{port}"
    if connection.family == socket.AF_INET6:
        host, port = connection.getpeername()[:2]
        plain = host.removeprefix("::ffff:")
        return f"ipv6:[{host}]:{port}" if plain == host else f"ipv4:{plain}:{port}"
    return ""
