"""References: the one way from a text to code says clearly what it could not find."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from phloem.errors import ConfigError
from phloem.references import load_reference


def test_finds_the_function_that_is_named() -> None:
    """A reference is an import, nothing else: the same object as `import` gives."""
    assert load_reference("math:hypot") is math.hypot


@pytest.mark.parametrize(
    "reference",
    ["", "math", "math:", ":hypot", "math.hypot", "math:hypot()", "a b:c", ".math:hypot", "math:a:b"],
)
def test_a_text_that_is_no_reference_is_refused_before_any_import(reference: str) -> None:
    """Nothing but `module:function` is ever looked for."""
    with pytest.raises(ConfigError, match="should read 'module:function'"):
        load_reference(reference)


@pytest.mark.parametrize("reference", ["no_such_module_here:f", "math.no_such:f", "no_such_package.data:f"])
def test_a_missing_module_is_named(reference: str) -> None:
    """The user learns which module is missing, and where to put it."""
    with pytest.raises(ConfigError, match=r"importable module.*PYTHONPATH"):
        load_reference(reference)


@pytest.mark.parametrize("reference", ["math:no_such", "math:pi"])
def test_what_cannot_be_called_is_refused(reference: str) -> None:
    """A constant, or nothing, is found out here and not at the call."""
    with pytest.raises(ConfigError, match="should name a function"):
        load_reference(reference)


def test_an_error_inside_the_users_module_is_not_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module that is there but cannot import what it needs keeps its own traceback."""
    (tmp_path / "shop_with_a_gap.py").write_text("import no_such_dependency\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="no_such_dependency"):
        load_reference("shop_with_a_gap:open_shop")
