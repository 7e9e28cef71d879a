"""What an honest run comes to, for comparison."""

from __future__ import annotations

from pathlib import Path

import pytest

from phloem.compression.update import digest
from tests.server.mischief import run


@pytest.fixture
def honest(tmp_path: Path) -> str:
    """The model's hash of a run without any mischief."""
    state, ledger = run(lambda number, sent, replies: replies, tmp_path / "honest")
    ledger.close()
    return digest(state.model)
