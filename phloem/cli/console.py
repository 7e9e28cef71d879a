"""What every verb shares: the consoles, the exit codes, and how an error is told."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.text import Text

from phloem import logs
from phloem.errors import ConfigError, PhloemError, RunError

OK, BAD_INPUT, FAILED_RUN, INTERRUPTED = 0, 2, 3, 130

out, err = Console(), Console(stderr=True)

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]


@contextmanager
def exit_codes() -> Iterator[None]:
    """Turn what a verb raises into one line on standard error and an exit code."""
    try:
        yield
    except ConfigError as error:
        _fail(error, BAD_INPUT)
    except PhloemError as error:
        _fail(error, FAILED_RUN)
    except OSError as error:  # a full disk, a folder that may not be written
        _fail(RunError(f"The system did not let the run go on: {error}."), FAILED_RUN)
    except KeyboardInterrupt:
        say("Interrupted.")
        raise typer.Exit(INTERRUPTED) from None


LogOption = Annotated[
    str, typer.Option("--log", envvar="PHLOEM_LOG", help="text: lines for people; json: an object a line.")
]


def log_as(style: str) -> None:
    """Begin to say what happens, for people or for machines."""
    if style not in logs.STYLES:
        raise ConfigError(f"`--log` (or PHLOEM_LOG) should be text or json. Found {style!r}. Correct it.")
    err.quiet = style == "json"
    if style == "json":
        logs.to_json()
    else:
        logs.to_people(say)


def say(text: str | Text) -> None:
    """Print to standard error what is no result, as it is: a path may hold what reads as markup."""
    if err.quiet:
        logs.note("said", str(text))
    err.print(text, markup=False, highlight=False, soft_wrap=True)


def _fail(error: PhloemError, code: int) -> NoReturn:
    if err.quiet:
        kind = type(error).__name__
        logs.note("failed", str(error), level=logging.ERROR, reason=str(error), kind=kind, exit_code=code)
    else:
        say(Text.assemble(("phloem:", "bold red"), f" {error}"))
    raise typer.Exit(code)
