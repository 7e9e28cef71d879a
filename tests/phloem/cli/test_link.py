"""What `phloem serve` and `phloem join` take and say before there is a link."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from phloem.cli.console import err
from phloem.cli.main import app


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """Put the loggers and the console back."""
    loggers = [logging.getLogger(name) for name in ("", "phloem", "flwr")]
    before = [(each, each.handlers[:], each.level, each.propagate) for each in loggers]
    yield
    err.quiet = False
    logging.captureWarnings(False)
    for each, handlers, level, propagate in before:
        each.handlers[:], each.propagate = handlers, propagate
        each.setLevel(level)


def test_serve_takes_what_simulate_takes() -> None:
    """`--no-reference` is for both verbs, so that a command line can be moved from one to the other."""
    for verb in ("simulate", "serve"):
        done = CliRunner().invoke(app, [verb, "--no-reference", "--set", "data.clients=0"])
        assert done.exit_code == 2
        assert "data.clients" in done.stderr.replace("\n", " ")


@pytest.mark.parametrize("by", ["option", "environment"])
def test_an_error_is_an_object_too(by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With JSON asked for, whatever ends a process is a line that a machine can read."""
    flags = ["--log", "json"] if by == "option" else []
    if by == "environment":
        monkeypatch.setenv("PHLOEM_LOG", "json")
    done = CliRunner().invoke(app, ["join", "phloem1.nonsense", *flags])
    assert done.exit_code == 2
    [line] = [json.loads(text) for text in done.stderr.splitlines()]
    assert (line["event"], line["level"], line["kind"], line["exit_code"]) == (
        "failed",
        "error",
        "ConfigError",
        2,
    )
    assert "Copy the whole line" in line["reason"]


def test_another_style_is_refused() -> None:
    """A misspelt style is told, not taken for the default."""
    done = CliRunner().invoke(app, ["serve", "--log", "yaml"])
    assert done.exit_code == 2
    assert "should be text or json. Found 'yaml'" in done.stderr.replace("\n", " ")
