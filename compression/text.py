"""The text form of a codec's parts: `linear:4,per=tensor` is `Linear(4, per="tensor")`.

The fields of the dataclass are the arguments: positional ones are written as a bare value, keyword-only
ones as `key=value`, and those with their default value not at all. The text parses back to an equal object.
"""

from __future__ import annotations

import re
from dataclasses import MISSING, Field, fields
from difflib import get_close_matches
from functools import cache
from typing import Any, ClassVar, Literal, NewType, Protocol, TypeVar, get_args, get_origin, get_type_hints

from phloem.errors import CodecError

ByteCount = NewType("ByteCount", int)
"""A field of this type reads and writes sizes: `20kB`, `1.5MB`, `512`."""

_UNITS = {"B": 1, "kB": 1_000, "MB": 1_000_000, "GB": 1_000_000_000}


class Part(Protocol):
    """A dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


class Named(Part, Protocol):
    """A dataclass that has a name in a codec's text."""

    name: ClassVar[str]


P = TypeVar("P", bound=Part)


def render(part: Named) -> str:
    """Write a part as text."""
    hints = _types(type(part))
    arguments: list[str] = []
    for place, field in enumerate(fields(part)):
        value = getattr(part, field.name)
        if value == field.default:
            continue
        text = _write(value, hints[field.name])
        positional = not field.kw_only and place == len(arguments)
        arguments.append(text if positional else f"{field.name}={text}")
    return f"{part.name}:{','.join(arguments)}" if arguments else part.name


def build(kind: type[P], name: str, arguments: str) -> P:
    """Make a part from the text after its name's colon; empty for no arguments.

    Raises:
        CodecError: an argument is unknown, missing, given twice, or not of its type.
    """
    hints = _types(kind)
    known = {field.name: field for field in fields(kind)}
    positional = [field.name for field in known.values() if not field.kw_only]
    given: dict[str, Any] = {}
    for place, argument in enumerate(arguments.split(",") if arguments else []):
        key, equals, text = (piece.strip() for piece in argument.rpartition("="))
        if not equals:
            if place >= len(positional):
                raise CodecError(f"`{name}` takes {_takes(known)}. Found the bare value {text!r}.")
            key = positional[place]
        if key not in known:
            raise CodecError(f"`{name}` takes {_takes(known)}. Found {key!r}.{suggest(key, known)}")
        if key in given:
            raise CodecError(f"`{name}` should get `{key}` once. Found it twice.")
        given[key] = _read(text, hints[key], f"`{key}` of `{name}`")
    for field in known.values():
        if field.default is MISSING and field.name not in given:
            raise CodecError(f"`{name}` needs `{field.name}`: write `{name}:…`. Found no value.")
    return kind(**given)


def choices(hint: Any) -> tuple[str, ...]:
    """The words that a field may have, if there are but a few."""
    return get_args(hint) if get_origin(hint) is Literal else ()


def suggest(word: str, known: Any) -> str:
    """A sentence that names the known word nearest to a misspelt one; empty if none is near."""
    near = get_close_matches(word.lower(), known, n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


@cache
def _types(kind: type[Part]) -> dict[str, Any]:
    return get_type_hints(kind)


def _takes(known: dict[str, Any]) -> str:
    return ", ".join(f"`{key}`" for key in known) or "no arguments"


def _read(text: str, hint: Any, what: str) -> Any:
    """Read one value as the type of its field; of `int | None` the first counts."""
    if known := choices(hint):
        if text not in known:
            raise CodecError(
                f"{what} should be one of {', '.join(known)}. Found {text!r}.{suggest(text, known)}"
            )
        return text
    kind = next(iter(get_args(hint)), hint)
    try:
        if kind is ByteCount:
            return _read_bytes(text)
        return {int: int, float: float, str: str}[kind](text)
    except ValueError:
        wanted = {int: "a whole number", float: "a number", ByteCount: "a size such as 20kB"}[kind]
        raise CodecError(f"{what} should be {wanted}. Found {text!r}.") from None


def _write(value: Any, hint: Any) -> str:
    if ByteCount in (hint, *get_args(hint)):
        return _write_bytes(value)
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def _read_bytes(text: str) -> int:
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*(B|kB|MB|GB)?", text)
    if match is None:
        raise ValueError(text)
    return round(float(match[1]) * _UNITS[match[2] or "B"])


def _write_bytes(size: int) -> str:
    """The longest unit of which the size is a multiple: 20000 is 20kB, 20001 is 20001."""
    for unit in ("GB", "MB", "kB"):
        if size and size % _UNITS[unit] == 0:
            return f"{size // _UNITS[unit]}{unit}"
    return str(size)
