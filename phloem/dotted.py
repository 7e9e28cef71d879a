"""Nested tables by dotted keys: `{"run": {"rounds": 5}}` is `{"run.rounds": 5}`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from phloem.errors import ConfigError


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value that is no table, by its dotted key, in order."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def place(tree: dict[str, Any], key: str, value: object) -> None:
    """Put a value into the tree, in place, with the tables that lead there.

    Raises:
        ConfigError: the key leads through a value.
    """
    *sections, leaf = key.split(".")
    for depth, section in enumerate(sections, start=1):
        child = tree.setdefault(section, {})
        if not isinstance(child, dict):
            setting = ".".join(sections[:depth])
            raise ConfigError(f"The key {key!r} is unknown. {setting!r} is a setting, not a section: use it.")
        tree = child
    tree[leaf] = value
