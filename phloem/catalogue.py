"""Every codec part that is registered, as a reader of the command line wants it.

Nothing is written down twice: names come from the registry, arguments from the dataclasses' fields, what a
part does from its docstring, and what it may follow from trying.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, fields
from itertools import product
from typing import Any, get_args, get_type_hints

from phloem.compression import registry
from phloem.compression.text import ByteCount, Part, build, choices
from phloem.errors import CodecError

TRIALS: dict[Any, tuple[str, ...]] = {
    int: ("4", "2", "1", "8", "16"),
    float: ("0.1", "0.5", "1"),
    ByteCount: ("20kB",),
}
"""Arguments to try, to learn where a part may stand; the first that its dataclass accepts are taken."""


@dataclass(frozen=True, slots=True)
class Argument:
    """One field of a part: `default` is None where one has to be given, or where none is needed.

    `choices` are the words that it may be, the default first, where only some are allowed.
    """

    name: str
    required: bool
    keyword: bool
    default: str | None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """One name: `kind` is feedback, stage, byte stage or whole update; what is `first` may begin a codec."""

    name: str
    kind: str
    usage: str
    summary: str
    arguments: tuple[Argument, ...]
    aliases: tuple[str, ...]
    first: bool
    follows: tuple[str, ...]


def entries() -> tuple[Entry, ...]:
    """Return the registry's names, in the order in which a codec uses them."""
    kinds = _kinds()
    examples = {name: _example(name, kind) for name, (_, kind) in kinds.items()}
    heads = _heads(examples)
    found: list[Entry] = []
    for name, (kind, part) in kinds.items():
        hints = get_type_hints(part)
        arguments = tuple(_argument(field, hints[field.name]) for field in fields(part))
        found.append(
            Entry(
                name=name,
                kind=kind,
                usage=_usage(name, arguments),
                summary=_summary(part),
                arguments=arguments,
                aliases=tuple(alias for alias, meant in registry.ALIASES.items() if meant == name),
                first=name in registry.FEEDBACKS or _works(examples[name]),
                follows=tuple(
                    before for before, head in heads.items() if _works(f"{head} | {examples[name]}")
                ),
            )
        )
    return tuple(found)


def _kinds() -> dict[str, tuple[str, type[Part]]]:
    groups: tuple[tuple[str, dict[str, type[Any]]], ...] = (
        ("feedback", registry.FEEDBACKS),
        ("whole update", registry.BODIES),
        ("stage", registry.STAGES),
        ("byte stage", registry.BYTE_STAGES),
    )
    return {name: (kind, part) for kind, group in groups for name, part in group.items()}


def _argument(field: Field[Any], hint: Any) -> Argument:
    required = field.default is MISSING
    default = None if required or field.default is None else str(field.default)
    known = sorted(choices(hint), key=lambda word: word != default)
    return Argument(field.name, required, bool(field.kw_only), default, tuple(known))


def _usage(name: str, arguments: tuple[Argument, ...]) -> str:
    """`linear:bits[,per=block|tensor]`: what stands in brackets may be left out; the first word is meant."""
    text = name
    for place, argument in enumerate(arguments):
        written = ("," if place else ":") + argument.name
        if argument.keyword or argument.default:
            written += "=" + ("|".join(argument.choices) or argument.default or "…")
        text += written if argument.required else f"[{written}]"
    return text


def _summary(part: type[Part]) -> str:
    """The first paragraph of the docstring, in one line."""
    return " ".join((inspect.getdoc(part) or "").split("\n\n")[0].split())


def _example(name: str, kind: type[Part]) -> str:
    """A text of this part that its dataclass accepts."""
    for arguments in _guesses(kind):
        try:
            build(kind, name, arguments)
        except CodecError:
            continue
        return f"{name}:{arguments}" if arguments else name
    return name


def _guesses(kind: type[Part]) -> Iterator[str]:
    """Arguments to try: those that have to be given, then one more."""
    hints = get_type_hints(kind)

    def guesses(field: Field[Any]) -> list[str]:
        hint = next(iter(get_args(hints[field.name])), hints[field.name])
        return [f"{field.name}={value}" for value in TRIALS.get(hint, ())]

    needed = [field for field in fields(kind) if field.default is MISSING]
    others = [field for field in fields(kind) if field.default is not MISSING]
    for extra in [(), *((field,) for field in others)]:
        yield from map(",".join, product(*map(guesses, [*needed, *extra])))


def _heads(examples: dict[str, str]) -> dict[str, str]:
    """For every name a short codec that ends in it."""
    heads = {name: text for name, text in examples.items() if name in registry.FEEDBACKS or _works(text)}
    for name, text in examples.items():
        if name not in heads:
            for head in list(heads.values()):
                if _works(f"{head} | {text}"):
                    heads[name] = f"{head} | {text}"
                    break
    return heads


def _works(text: str) -> bool:
    try:
        registry.parse(text)
    except CodecError:
        return False
    return True
