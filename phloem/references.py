"""Run-time references: `"module:function"`, the one way in which a text names code.

The layers import downwards only; where a lower layer needs a higher one's
implementation, or the user's own, it names it and it is imported when it is used.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from phloem.errors import ConfigError


def load_reference(reference: str) -> Callable[..., Any]:
    """Import what `"module:function"` names.

    An error raised *inside* the module while it is imported is not hidden: it
    comes through as it is, with its traceback.

    Raises:
        ConfigError: the text is no reference, or there is no such module or callable.
    """
    module_name, _, attribute = reference.partition(":")
    parts = [*module_name.split("."), attribute]
    if not all(part.isidentifier() for part in parts):
        raise ConfigError(
            f"A reference should read 'module:function'. Found {reference!r}. "
            "Name an importable module and a function in it, such as 'my_package.data:shops'."
        )
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the module is there; something that it imports is not
        raise ConfigError(
            f"{reference!r} should name an importable module. Found no module {error.name!r}. "
            "Check the spelling, install its package, or put its folder on PYTHONPATH."
        ) from error
    found = getattr(module, attribute, None)
    if not callable(found):
        raise ConfigError(
            f"{reference!r} should name a function of {module_name!r}. "
            f"Found {'nothing of this name' if found is None else type(found).__name__}. "
            "Define it at the module's top level."
        )
    result: Callable[..., Any] = found
    return result
