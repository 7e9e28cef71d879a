"""The examples in the docstrings of phloem.compression run as they are written."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "compression"


@pytest.mark.parametrize(
    "module", sorted(path.stem for path in FOLDER.glob("*.py") if ">>>" in path.read_text())
)
def test_examples(module: str) -> None:
    """What a reader types from a docstring does what stands below it."""
    found = doctest.testmod(importlib.import_module(f"phloem.compression.{module}"))
    assert found.failed == 0
    assert found.attempted > 0
