"""The public face: a short list of names, changed on purpose only, and cheap to import."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import phloem

NAMES = [
    "Codec",
    "CodecState",
    "CompressedGrid",
    "ConfigError",
    "CorruptUpdate",
    "Experiment",
    "Federation",
    "Ledger",
    "LocalGrid",
    "PhloemError",
    "ProtocolError",
    "RunError",
    "Samples",
    "Schema",
    "Summary",
    "Update",
    "codec",
    "compress_mod",
    "simulate",
    "summarise",
]
HEAVY = ("torch", "flwr", "numba", "ray", "sklearn", "pydantic")


def test_the_names() -> None:
    """What users may rely on: a name that goes, or comes, is a decision and a line in the changelog."""
    assert list(phloem.__all__) == NAMES


def test_at_most_twenty_names() -> None:
    """A face that fits on a screen."""
    assert len(phloem.__all__) <= 20


@pytest.mark.parametrize("name", phloem.__all__)
def test_every_name_is_there_and_documented(name: str) -> None:
    """Whatever is promised can be imported, says what it is, and shows up in `dir`."""
    value = getattr(phloem, name)
    assert name in dir(phloem)
    if callable(value):
        assert value.__doc__, f"phloem.{name} needs a docstring"


def test_unknown_names_are_attribute_errors() -> None:
    """Lazy import must not turn a typing mistake into something else; `hasattr` relies on it."""
    assert not hasattr(phloem, "no_such_name")


def test_import_is_cheap(root: Path) -> None:
    """`import phloem` costs no framework: each name brings what it needs when it is used."""
    script = f"import sys, phloem; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


def test_version_is_the_packages(root: Path) -> None:
    """One version: what the code says is what pip installs."""
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    assert phloem.__version__ == project["version"]
