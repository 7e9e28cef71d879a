"""What is wrong with a setting, in phloem's words: where, what was expected, what was found, what to do."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from phloem.dotted import flatten
from phloem.errors import CodecError, ConfigError, DataError

EXPECTED = {
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "string_type": "text, in quotes where it reads as something else",
    "model_type": "a section",
    "too_short": "one value at least",
    "tuple_type": "whole numbers such as '128,64'",
}
"""Expectations that pydantic words for programmers, by its name of the error."""


def explain(error: ErrorDetails, defaults: BaseModel) -> ConfigError:
    """Return what to raise for the first thing that pydantic found; `defaults` holds every setting."""
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return ConfigError(_unknown(key, [each for each, _ in flatten(defaults.model_dump())]))
    cause = error.get("ctx", {}).get("error")
    if isinstance(cause, ValueError) and isinstance(cause.__cause__, CodecError | DataError):
        return type(cause.__cause__)(f"In {key!r}: {cause}")
    default = _default(error["loc"], defaults)
    if isinstance(cause, ValueError) and isinstance(default, Mapping):
        return ConfigError(str(cause))  # a check over several settings names them itself
    expected = EXPECTED.get(error["type"]) or error["msg"].removeprefix("Value error, ")
    remedy = (
        "Write its settings below it."
        if isinstance(default, Mapping)
        else f"The default is {_toml(default)}."
    )
    return ConfigError(
        f"{key!r} should be {expected.removeprefix('Input should be ')}. Found {error['input']!r}. {remedy}"
    )


def _unknown(key: str, known: Sequence[str]) -> str:
    """Name the key most like an unknown one, and what may stand in its place."""
    section, dot, name = key.rpartition(".")
    here = sorted(
        {
            each.removeprefix(section + dot).partition(".")[0]
            for each in known
            if each.startswith(section + dot)
        }
    )
    by_name = {each.rpartition(".")[2]: each for each in reversed(known)}
    if name in by_name:
        near = by_name[name]
    elif matches := get_close_matches(name, here, n=1):
        near = section + dot + matches[0]
    else:
        near = next((by_name[each] for each in get_close_matches(name, by_name, n=1)), "")
    hint = f" Did you mean {near!r}?" if near else ""
    title = f"Keys of {section!r}" if section else "Sections"
    return f"The key {key!r} is unknown.{hint} {title}: {', '.join(here)}."


def _default(location: Sequence[str | int], defaults: BaseModel) -> object:
    value: object = defaults.model_dump()
    for part in location:
        value = value[part] if isinstance(value, Mapping) and part in value else value
    return value


def _toml(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)  # for numbers, booleans, text and lists the same
