"""The articles' experiments run, and the page about them says what their results say."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

pytest.importorskip("onnxruntime", reason='needs the extra: pip install "phloem[shrink]"')
pytest.importorskip("torch_pruning", reason='needs the extra: pip install "phloem[shrink]"')
pytest.importorskip("optuna", reason='needs the extra: pip install "phloem[tune]"')

from examples.articles import claim, table
from examples.articles.school import School
from phloem.config import DataConfig
from phloem.server.shrink.lessons import ask
from phloem.sources import open_federation
from tests.server.shrink.networks import normed


@pytest.fixture(scope="module")
def school() -> School:
    """The digits, and a teacher that was taught nothing."""
    federation = open_federation(DataConfig(partition="iid", clients=1), 1)
    return School("digits", 1, federation, normed(), ask(normed(), federation.proxy, count=200, seed=1))


@pytest.mark.parametrize("name", ["int8", "rounding", "stages", "temperature"])
def test_an_experiment_measures_and_judges(
    name: str, school: School, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows are kept, a second run replaces those of the same seed, and the verdict is made of them."""
    monkeypatch.setattr(claim, "RESULTS", tmp_path)
    one: claim.Claim = importlib.import_module(f"examples.articles.{name}").CLAIM
    one.run(school)
    first = one.path.read_text(encoding="utf-8")
    one.run(school)
    assert len(json.loads(first)) == len(one.rows()) > 1
    assert "digits" in one.means()
    assert one.verdict(one.means()).endswith(".")


def test_the_page_is_what_the_results_say(root: Path) -> None:
    """Nobody edits docs/articles.md by hand."""
    assert (root / "docs" / "articles.md").read_text(encoding="utf-8") == table.page(), (
        "write it again: python examples/articles/table.py"
    )


def test_every_claim_is_on_the_page(root: Path) -> None:
    """An experiment that is not in the table is not seen."""
    scripts = {path.stem for path in (root / "examples" / "articles").glob("*.py")}
    assert scripts - {"claim", "school", "table"} == set(table.CLAIMS)
