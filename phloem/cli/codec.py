"""`phloem codec`: what codecs there are, and what is in a frame."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from phloem.cli.console import JsonFlag, exit_codes, out
from phloem.errors import ConfigError, CorruptUpdate

if TYPE_CHECKING:
    from phloem.catalogue import Entry
    from phloem.compression.dissect import Anatomy

SHOWN_BYTES = 8

app = typer.Typer(no_args_is_help=True, help="What codecs there are, and what is in a frame.")


@app.command("list")
def list_(as_json: JsonFlag = False) -> None:
    """List every part that a codec's text may use, with its arguments and its place."""
    with exit_codes():
        from phloem.catalogue import entries

        if as_json:
            print(json.dumps([asdict(entry) for entry in entries()], indent=2))
        else:
            out.print(_catalogue(entries()))


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(help="A file that holds one frame.")], as_json: JsonFlag = False
) -> None:
    """Show a frame, byte by byte; neither the model nor the codec is needed."""
    with exit_codes():
        from phloem.compression.dissect import dissect

        try:
            blob = file.read_bytes()
            anatomy = dissect(blob)
        except OSError as error:
            raise ConfigError(f"`FILE` should be a file that can be read. Found {error}.") from None
        except CorruptUpdate as error:
            raise ConfigError(f"{file} should hold one frame, as `Codec.encode` gives it. {error}") from None
        if as_json:
            print(json.dumps(_as_json(file, len(blob), anatomy), indent=2))
        else:
            out.print(_sections(file, len(blob), anatomy))
        if not anatomy.intact:
            raise ConfigError(f"{file} is damaged: its checksum should be another. Have it sent again.")


def _catalogue(entries: tuple[Entry, ...]) -> Table:
    table = Table()
    for column, ratio in (("codec", None), ("what it does", 3), ("may follow", 2)):
        table.add_column(column, overflow="fold", ratio=ratio)
    for entry in entries:
        usage = entry.usage.replace("[,", "\n [,").replace("|", "\n  |")
        usage += "".join(f"\n= {alias}" for alias in entry.aliases)
        places = [*(["(first)"] if entry.first else []), *entry.follows]
        table.add_row(escape(usage), escape(entry.summary), escape(" ".join(places)))
    return table


def _as_json(file: Path, size: int, anatomy: Anatomy) -> dict[str, Any]:
    payloads = [payload.value for payload in anatomy.payloads]
    return {
        "file": str(file),
        "bytes": size,
        **{key: anatomy.value(key) for key in ("format", "schema", "codec", "base", "seq", "crc32c")},
        "intact": anatomy.intact,
        "payload_bytes": payloads,
        "overhead_bytes": size - sum(int(payload) for payload in payloads),
        "sections": [
            {"name": s.name, "at": s.at, "bytes": len(s.data), "value": s.value} for s in anatomy.sections
        ],
    }


def _sections(file: Path, size: int, anatomy: Anatomy) -> Table:
    table = Table(title=f"{escape(str(file))}: {size} bytes", title_justify="left")
    for column in ("at", "bytes"):
        table.add_column(column, justify="right")
    for column in ("section", "value", "begins with"):
        table.add_column(column, overflow="fold")
    for section in anatomy.sections:
        value = str(section.value)
        if section.name == "crc32c":
            value += " ok" if anatomy.intact else " wrong"
        elif section.name.startswith("payload"):
            value += " bytes"
        head = section.data[:SHOWN_BYTES].hex(" ") + (" …" if len(section.data) > SHOWN_BYTES else "")
        table.add_row(str(section.at), str(len(section.data)), section.name, escape(value), head)
    return table
