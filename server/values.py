"""Frozen values as JSON beside named bytes, and back: dataclasses of numbers, texts, bytes and arrays.

What a value is, its type says; nothing in the JSON names a type, so nothing is made but what is asked for.
Mappings keep their order. Arrays and bytes go into parts of their own: what is the same object again goes
there once, and need not be written again.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
from safetensors.numpy import load, save

T = TypeVar("T")
Tree = Any


@dataclass
class Parts:
    """Names for the arrays and bytes of one value after another; a name never stands for two things."""

    _known: dict[int, tuple[object, str]] = field(default_factory=dict)
    _made: int = 0

    def pack(self, value: object) -> tuple[Tree, dict[str, bytes], set[str]]:
        """Return `value` as JSON, the parts that no value before had, and the names of all its parts."""
        known, self._known = self._known, {}
        new: dict[str, bytes] = {}

        def put(thing: object, write: Callable[[], bytes]) -> str:
            name = (self._known.get(id(thing)) or known.get(id(thing)) or (None, ""))[1]
            if not name:
                self._made += 1
                name = f"value-{self._made}"
                new[name] = write()
            self._known[id(thing)] = thing, name  # the thing as well: an id is only its own while it lives
            return name

        tree = _pack(value, put)
        return tree, new, {name for _, name in self._known.values()}


def unpack(kind: type[T], tree: Tree, parts: Mapping[str, bytes]) -> T:
    """Return the value of type `kind` that `Parts.pack` wrote."""
    value: T = _unpack(kind, tree, parts)
    return value


Put = Callable[[object, Callable[[], bytes]], str]


def _pack(value: object, put: Put) -> Tree:
    match value:
        case None | bool() | int() | float() | str():
            return value
        case bytes():
            return put(value, lambda: value)
        case Mapping() if value and all(isinstance(v, np.ndarray) for v in value.values()):
            arrays = {name: np.asarray(array, order="C") for name, array in value.items()}
            return [list(value), put(value, lambda: save(arrays))]
        case Mapping():
            return [[_pack(key, put), _pack(item, put)] for key, item in value.items()]
        case frozenset():
            return sorted(_pack(item, put) for item in value)
        case tuple():
            return [_pack(item, put) for item in value]
    if dataclasses.is_dataclass(value):
        return {f.name: _pack(getattr(value, f.name), put) for f in dataclasses.fields(value)}
    raise TypeError(
        f"A state should hold numbers, texts, arrays and collections of them. Found {value!r:.80}."
    )


def _unpack(kind: Any, tree: Tree, parts: Mapping[str, bytes]) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if tree is None:
            return None
        [kind] = [argument for argument in arguments if argument is not type(None)]
        return _unpack(kind, tree, parts)
    if kind is bytes:
        return parts[tree]
    if origin is not None and issubclass(origin, Mapping):
        return _mapping(arguments, tree, parts)
    if origin is frozenset:
        return frozenset(_unpack(arguments[0], item, parts) for item in tree)
    if origin is tuple:
        kinds = [arguments[0]] * len(tree) if arguments[-1] is Ellipsis else arguments
        return tuple(_unpack(part, item, parts) for part, item in zip(kinds, tree, strict=True))
    if dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind)
        make: Any = kind
        return make(**{name: _unpack(hints[name], item, parts) for name, item in tree.items()})
    return tree


def _mapping(arguments: tuple[Any, ...], tree: Tree, parts: Mapping[str, bytes]) -> dict[Any, Any]:
    key, item = arguments
    if (get_origin(item) or item) is np.ndarray:
        if not tree:
            return {}
        order, part = tree
        arrays = load(parts[part])
        return {name: arrays[name] for name in order}
    return {_unpack(key, k, parts): _unpack(item, v, parts) for k, v in tree}
