"""The doctor: looks for everything phloem needs, and says what to do about what is missing."""

from __future__ import annotations

import importlib.metadata
import json
import re
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from phloem import doctor
from phloem.cli.main import app


def without(monkeypatch: pytest.MonkeyPatch, *packages: str) -> list[doctor.Finding]:
    """Examine a machine on which these packages are not installed."""
    installed = importlib.metadata.version

    def version(package: str) -> str:
        if package in packages:
            raise importlib.metadata.PackageNotFoundError(package)
        return installed(package)

    monkeypatch.setattr(importlib.metadata, "version", version)
    return doctor.examine()


def test_it_looks_for_every_dependency(root: Path) -> None:
    """Protects the list: a dependency added to pyproject.toml is looked for, and so is every user's extra."""
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    needed = {re.split(r"[<>=\[;]", text)[0] for text in project["dependencies"]}
    assert set(doctor.CORE) == needed
    assert set(doctor.EXTRAS) == set(project["optional-dependencies"]) - {"dev", "fuzz"}


def test_where_the_tests_run_it_finds_nothing_amiss() -> None:
    """Protects users from a false alarm, in a checkout too, where phloem is not installed as a package."""
    findings = doctor.examine()
    assert doctor.healthy(findings)
    assert len({finding.name for finding in findings}) == len(findings)


def test_without_a_dependency_it_is_not_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects the exit code: what phloem does not run without fails the examination."""
    findings = without(monkeypatch, "safetensors")
    assert not doctor.healthy(findings)
    [finding] = [finding for finding in findings if not finding.ok and finding.needed]
    assert (finding.name, finding.found) == ("safetensors", "not installed")


def test_without_an_extra_it_is_healthy_and_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects thin installations, and the remedy, whose brackets a terminal's markup would swallow."""
    without(monkeypatch, "ray", "plotly")
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["doctor"])
    assert result.exit_code == 0
    assert 'pip install "phloem[ray]"' in result.stdout
    assert 'pip install "phloem[report]"' in result.stdout


def test_it_speaks_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects scripts: one object on standard output, and the exit code of a failed run if unhealthy."""
    without(monkeypatch, "numba")
    result = CliRunner().invoke(app, ["doctor", "--json"])
    assert result.exit_code == 3
    found = json.loads(result.stdout)
    assert found["healthy"] is False
    assert {"name", "found", "ok", "needed", "consequence"} == set(found["findings"][0])
