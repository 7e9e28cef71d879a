"""Figures for Prometheus, and a port of one's own to tell them on: GET /metrics, GET /healthz.

The text format needs no library: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

from phloem.errors import ConfigError

MOST_REQUEST_BYTES = 8192
PATIENCE_S = 10.0


@dataclass(frozen=True)
class Address:
    """Where to listen; port 0 is any free one."""

    host: str
    port: int


@dataclass(frozen=True)
class Figure:
    """One metric: its name without the common prefix, and a value for each set of labels."""

    name: str
    kind: Literal["gauge", "counter"]
    help: str
    values: Mapping[tuple[tuple[str, str], ...], float] = field(default_factory=dict)

    @classmethod
    def plain(cls, name: str, kind: Literal["gauge", "counter"], text: str, value: float | None) -> Figure:
        """Return a metric without labels; without a value there is no line of it."""
        return cls(name, kind, text, {} if value is None else {(): value})

    @classmethod
    def by(
        cls,
        label: str,
        name: str,
        kind: Literal["gauge", "counter"],
        text: str,
        values: Mapping[str, float],
    ) -> Figure:
        """Return a metric with one label."""
        return cls(name, kind, text, {((label, key),): values[key] for key in sorted(values)})


def page(figures: Iterable[Figure]) -> str:
    """Return figures in Prometheus' text format."""
    lines = []
    for figure in figures:
        lines += [f"# HELP phloem_{figure.name} {figure.help}", f"# TYPE phloem_{figure.name} {figure.kind}"]
        for labels, value in figure.values.items():
            inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels)
            lines.append(f"phloem_{figure.name}{f'{{{inside}}}' if inside else ''} {value}")
    return "\n".join(lines) + "\n"


async def open_pages(address: Address, figures: Callable[[], Iterable[Figure]]) -> asyncio.Server:
    """Answer with a page made anew each time, until the server is closed.

    Raises:
        ConfigError: the port cannot be opened.
    """
    pages: dict[bytes, Callable[[], str]] = {
        b"/metrics": lambda: page(figures()),
        b"/healthz": lambda: "ok\n",
    }

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, EOFError, ValueError, TimeoutError, asyncio.LimitOverrunError):
            async with asyncio.timeout(PATIENCE_S):
                head = await reader.readuntil(b"\r\n\r\n")
                method, path, *_ = head.split(b" ", 2)
                found = method == b"GET" and path in pages
                body = (pages[path]() if found else "not here\n").encode()
                writer.write(
                    b"HTTP/1.1 %s\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: %d\r\n"
                    b"Connection: close\r\n\r\n%s"
                    % (b"200 OK" if found else b"404 Not Found", len(body), body)
                )
                await writer.drain()
        writer.close()

    try:
        return await asyncio.start_server(meet, address.host, address.port, limit=MOST_REQUEST_BYTES)
    except OSError as error:
        raise ConfigError(
            f"Metrics should listen on {address.host}:{address.port}. Found: {error}. Name another."
        ) from None


def port_of(server: asyncio.Server) -> int:
    """Return the port that a server listens on."""
    return int(server.sockets[0].getsockname()[1])


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
