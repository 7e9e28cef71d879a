"""`phloem serve` and `phloem join`: the link's two ends."""

from __future__ import annotations

import json
import os
import shlex
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from phloem.cli.console import JsonFlag, LogOption, err, exit_codes, log_as, out, say
from phloem.cli.run import run_and_show
from phloem.errors import ConfigError
from phloem.logs import note
from phloem.summary import LEDGER_NAME

if TYPE_CHECKING:
    from phloem.client.link.enrol import Membership
    from phloem.config import Experiment
    from phloem.link.pages import Address
    from phloem.server.link.run import Front
    from phloem.server.link.tally import Tally
    from phloem.server.strategy import RoundReport
    from phloem.simulation.run import Progress

PORT = 8470
CLIENT_APP = "phloem.client.app:app"


def serve(
    config: Annotated[
        Path | None, typer.Argument(help="An experiment in TOML; defaults if left out.")
    ] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="Override a setting: --set run.rounds=5 (repeatable).")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="The same as --set run.seed=N.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="The run's folder.")] = None,
    state: Annotated[
        Path | None, typer.Option(help="The link's own folder: authority, devices, tokens.")
    ] = None,
    listen: Annotated[
        str, typer.Option(help="Where devices connect, HOST:PORT; they join on the port after it.")
    ] = f"127.0.0.1:{PORT}",
    address: Annotated[
        str, typer.Option(help="The host by which devices know this server, if not that of --listen.")
    ] = "",
    tokens: Annotated[
        Path | None, typer.Option(help="Folder for a file with each token; that of --state if not said.")
    ] = None,
    metrics: Annotated[str, typer.Option(help="Tell Prometheus at this HOST:PORT.")] = "",
    replace: Annotated[
        list[int] | None, typer.Option(help="Let another device take this place (repeatable).")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --output, if one was broken off there.")
    ] = False,
    no_reference: Annotated[
        bool, typer.Option("--no-reference", help="As of `simulate`; here no dense run is ever made.")
    ] = False,
    log: LogOption = "text",
    as_json: JsonFlag = False,
) -> None:
    """Run an experiment on real devices; each connects with `phloem join TOKEN`."""
    with exit_codes():
        log_as(log)
        from phloem.config import experiment_of
        from phloem.server.link.run import Front
        from phloem.simulation.run import new_directory

        experiment = experiment_of(config, assignments or [], seed).with_values({"run.reference": False})
        directory = output or new_directory(experiment)
        front = Front(
            state or _state_folder("server"),
            _address(listen),
            address,
            tuple(replace or ()),
            tokens,
            _address(metrics) if metrics else None,
        )
        resume = resume and (directory / LEDGER_NAME).exists()
        go_on = f"the same command with -o {shlex.quote(str(directory))} --resume"
        run_and_show(_serving(experiment, directory, front, resume=resume), directory, as_json, go_on)


def join(
    token: Annotated[
        str, typer.Argument(help="What `phloem serve` printed, or @FILE that holds it; once a device.")
    ] = "",
    state: Annotated[Path | None, typer.Option(help="The device's own folder: key, journal.")] = None,
    data: Annotated[
        str, typer.Option(help="What this device learns from: csv:PATH, npz:PATH or module:function.")
    ] = "",
    app: Annotated[str, typer.Option(help="The Flower ClientApp to run, module:name.")] = CLIENT_APP,
    name: Annotated[str, typer.Option(help="What people call the device.")] = "",
    once: Annotated[bool, typer.Option("--once", help="Leave when the run is over.")] = False,
    keepalive: Annotated[
        float, typer.Option(min=1, help="Try an idle connection after so many seconds.")
    ] = 240.0,
    preflight: Annotated[
        bool, typer.Option("--preflight", help="Connect, measure what this device can do, and leave.")
    ] = False,
    metrics: Annotated[str, typer.Option(help="Tell Prometheus at this HOST:PORT.")] = "",
    log: LogOption = "text",
    as_json: JsonFlag = False,
) -> None:
    """Connect this device to a server, and stay connected through every change of network."""
    with exit_codes():
        log_as(log)
        from phloem.client.link.enrol import enrol, membership
        from phloem.client.link.join import attend
        from phloem.client.link.session import Patience

        folder = state or _state_folder("device")
        text = _token(token, folder)
        member = enrol(text, folder, name or socket.gethostname()) if text else membership(folder)
        config = {"data": data} if data else {}
        if preflight:
            _preflight(member, folder, config, as_json)
            return
        patience = Patience(keepalive_s=keepalive, stay=not once)
        pages = _address(metrics) if metrics else None
        attend(member, folder, app, config, patience=patience, metrics=pages)


def _preflight(member: Membership, folder: Path, config: dict[str, str], as_json: bool) -> None:
    import asyncio

    from phloem.client.link.preflight import look

    found = asyncio.run(look(member, folder, config))
    if as_json:
        print(json.dumps(found.as_dict(), indent=2))
        return
    table = Table("", "", show_header=False, title="this device", title_justify="left")
    table.add_row("to the server and welcomed", f"{1000 * found.connect_seconds:.0f} ms")
    if found.link is not None:
        table.add_row("there and back", f"{1000 * found.link.round_trip_seconds:.1f} ms")
        table.add_row("up", f"{found.link.up_bytes_per_second / 1000:.0f} kB/s")
        table.add_row("down", f"{found.link.down_bytes_per_second / 1000:.0f} kB/s")
    table.add_row("memory", f"{found.memory_mb:.0f} MB")
    for batch, rate in found.samples_per_second.items():
        table.add_row(f"training, batches of {batch}", f"{rate:.0f} samples/s")
    for text, size in found.update_bytes.items():
        table.add_row(f"an update as {text}", f"{size} B, {1000 * found.encode_seconds[text]:.1f} ms")
    out.print(table)
    say(f"proposed: client.batch_size={found.batch_size} uplink.codec={found.codec!r}")


def _serving(
    experiment: Experiment, directory: Path, front: Front, *, resume: bool
) -> Callable[[Callable[[Progress], None]], object]:
    from phloem.server.link.run import Listener, serve_link
    from phloem.simulation.run import Progress

    def run(on_progress: Callable[[Progress], None]) -> object:
        def on_round(report: RoundReport, found: Tally) -> None:
            _note_round(report, found)
            on_progress(Progress("run", experiment.run.rounds, report))

        listener = Listener(on_token=_note_token, on_wait=_note_wait, on_round=on_round)
        return serve_link(
            experiment, directory, front, listener, resume=resume, facts={"command": "phloem serve"}
        )

    return run


def _note_token(place: int, token: str, file: Path) -> None:
    # A log is kept and shipped, and a token is a secret: for machines there is the file.
    text = f"place {place}: the token is in {file}" if err.quiet else f"place {place}: phloem join {token}"
    note("token", text, client=str(place), file=str(file))


def _note_wait(here: int, wanted: int) -> None:
    note("waiting", f"{here} of {wanted} devices are here.", here=here, wanted=wanted)


def _note_round(report: RoundReport, found: Tally) -> None:
    """Say what a round came to; for people, the bar and the closing table do."""
    note(
        "round",
        f"Round {report.round}: {report.accepted} replies applied, {report.refused} rejected.",
        quiet=True,
        round=report.round,
        accepted=report.accepted,
        rejected=report.refused,
        accuracy=report.accuracy,
        seconds=found.seconds,
        **found.fields(),
    )


def _address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    if not (host and port.isdecimal() and int(port) < 65535):
        raise ConfigError(f"An address should read HOST:PORT, such as 0.0.0.0:{PORT}. Found {text!r}.")
    from phloem.link.pages import Address

    return Address(host.strip("[]"), int(port))


def _token(text: str, folder: Path) -> str:
    """Return the token to join with; the file of one that was used may be gone."""
    from phloem.client.link.enrol import is_member

    if not text.startswith("@"):
        return text
    if is_member(folder) and not Path(text[1:]).exists():
        return ""
    try:
        return Path(text[1:]).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"A token was expected in {text[1:]!r}. Found: {error}. Copy it there.") from None


def _state_folder(end: str) -> Path:
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "phloem" / end
