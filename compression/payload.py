"""The signals of one tensor as one string of bytes.

First those whose size their specs tell, then the `Bytes`. Each of the `Bytes` but the last has its length
before it; the last one's follows from the whole. So a payload usually holds no length at all.
"""

from __future__ import annotations

from collections.abc import Sequence

from phloem.compression.signal import Array, Bytes, Spec
from phloem.errors import CorruptUpdate


def join(specs: Sequence[Spec], arrays: Sequence[Array]) -> bytes:
    """Serialise."""
    parts = [spec.pack(array) for spec, array in zip(specs, arrays, strict=True)]
    fixed, variable = _order(specs)
    for i in variable[:-1]:
        parts[i] = len(parts[i]).to_bytes(_length_bytes(specs[i]), "little") + parts[i]
    return b"".join(parts[i] for i in fixed + variable)


def split(specs: Sequence[Spec], data: bytes) -> list[Array]:
    """Invert `join`, and use up every byte.

    Raises:
        CorruptUpdate: too few bytes, too many, or bytes that no signal gives.
    """
    fixed, variable = _order(specs)
    arrays: dict[int, Array] = {}
    at = 0
    for i in fixed + variable:
        size = specs[i].most_bytes
        if i in variable[:-1]:
            start, at = at, at + _length_bytes(specs[i])
            size = int.from_bytes(data[start:at], "little")
        elif i in variable:
            size = len(data) - at
        if size > specs[i].most_bytes:
            raise CorruptUpdate(f"A part should have at most {specs[i].most_bytes} bytes. Found {size}.")
        if not 0 <= size <= len(data) - at:
            raise CorruptUpdate(f"A payload should have {at + size} bytes or more. Found {len(data)}.")
        arrays[i] = specs[i].unpack(data[at : at + size])
        at += size
    if at != len(data):
        raise CorruptUpdate(f"A payload should have {at} bytes. Found {len(data)}.")
    return [arrays[i] for i in range(len(specs))]


def joined_bytes(specs: Sequence[Spec], arrays: Sequence[Array]) -> int:
    """The length of `join(specs, arrays)`, without serialising."""
    sizes = [
        spec.most_bytes if not isinstance(spec, Bytes) else array.size
        for spec, array in zip(specs, arrays, strict=True)
    ]
    return sum(sizes) + _lengths_bytes(specs)


def most_joined_bytes(specs: Sequence[Spec]) -> int:
    """The most that `join` gives."""
    return sum(spec.most_bytes for spec in specs) + _lengths_bytes(specs)


def _order(specs: Sequence[Spec]) -> tuple[list[int], list[int]]:
    """The places of the signals of known size, and of the others."""
    places = range(len(specs))
    variable = [i for i in places if isinstance(specs[i], Bytes)]
    return [i for i in places if i not in variable], variable


def _length_bytes(spec: Spec) -> int:
    """The size of a length that is at most the spec's most."""
    return -(-spec.most_bytes.bit_length() // 8)


def _lengths_bytes(specs: Sequence[Spec]) -> int:
    return sum(_length_bytes(specs[i]) for i in _order(specs)[1][:-1])
