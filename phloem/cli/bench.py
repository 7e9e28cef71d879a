"""`phloem bench`: the benchmarks, against peers in the same run."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated

import typer

from phloem.cli.console import JsonFlag, exit_codes, out, say
from phloem.errors import ConfigError

app = typer.Typer(no_args_is_help=True, help="Benchmarks, against peers in the same run.")


@app.callback()
def _group() -> None:
    """Benchmarks, against peers in the same run."""


@app.command()
def link(
    rounds: Annotated[int, typer.Option(min=2, help="Of the link; bytes are means over them.")] = 20,
    devices: Annotated[int, typer.Option(min=1, help="Device processes.")] = 2,
    payload: Annotated[int, typer.Option(min=0, help="Bytes each way.")] = 1000,
    idle: Annotated[float, typer.Option(min=0, help="Count idle bytes for so many seconds.")] = 0.0,
    against: Annotated[str, typer.Option(help="'supernode': Flower's own engine, in the same run.")] = "",
    peer_rounds: Annotated[int, typer.Option(min=2, help="Of the peer.")] = 4,
    as_json: JsonFlag = False,
) -> None:
    """Measure what a round costs a device: bytes at the socket, seconds, memory."""
    with exit_codes():
        from phloem.bench.link import Wanted, measure, table

        if against not in ("", "supernode"):
            raise ConfigError(f"`--against` should be 'supernode'. Found {against!r}. Correct it.")
        wanted = Wanted(rounds, devices, payload, idle, against == "supernode", peer_rounds)
        rows = measure(wanted, say)
        if as_json:
            print(json.dumps(rows, indent=2))
        else:
            out.print(table(rows))


@app.command()
def codecs(
    vector: Annotated[
        list[Path] | None, typer.Option(help="An update, an .npz file with an array a tensor (repeatable).")
    ] = None,
    codec: Annotated[
        list[str] | None, typer.Option(help="Measure this codec, not the usual ones (repeatable).")
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="How often everybody has a turn.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Of the synthetic vectors.")] = 20,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Write a page of Markdown here, its plots beside it."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Small synthetic vectors, nobody slow, once.")
    ] = False,
    equal_bytes: Annotated[
        bool, typer.Option("--equal-bytes", help="Ask `rdo` for the bytes of every other codec, and compare.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Measure size, error and speed of codecs on updates; two are made, others come from files.

    Sizes are of the whole message, in bits per parameter (bpp); NMSE is the squared error over the update's
    own square; speeds are float32 MB a processor second.
    """
    with exit_codes():
        from phloem.bench.codecs import measure
        from phloem.bench.contenders import chosen, lineup
        from phloem.bench.page import tables, write
        from phloem.bench.vectors import SEED, load, synthetic

        if output is not None:
            output.parent.mkdir(parents=True, exist_ok=True)  # before minutes of measuring, not after
        able, missing = (list(chosen(codec)), []) if codec else lineup(quick=quick)
        vectors = [*map(load, vector or []), *synthetic(seed, quick=quick)]
        result = measure(
            vectors,
            able,
            missing,
            repeats=1 if quick else repeats,
            equal_bytes=equal_bytes,
            on_vector=lambda name: say(f"{name} …"),
        )
        if output is not None:
            command = ["phloem", "bench", "codecs"]
            command += [part for path in vector or [] for part in ("--vector", path.name)]
            command += [part for text in codec or [] for part in ("--codec", text)]
            command += ["--seed", str(seed)] if seed != SEED else []
            command += [*(["--quick"] if quick else []), *(["--equal-bytes"] if equal_bytes else [])]
            for path in write(result, output, shlex.join(command)):
                say(f"wrote {path}")
        if as_json:
            print(json.dumps(result.as_dict(), indent=2))
        elif output is None:
            for table in tables(result):
                out.print(table)
