"""Flower's records as the link carries them: a small head that names everything, large bytes beside it.

The head is worth compressing, the bytes beside it are not: they are arrays, or somebody's codec made them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from io import BytesIO
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, Metadata, MetricRecord, RecordDict

from phloem.errors import ProtocolError
from phloem.proto import link_pb2

DETACHED_BYTES = 64
"""Longer byte strings travel beside the head."""

MOST_AXES = 64
"""No array of NumPy's has more."""

NUMPY = "numpy.ndarray"
PLAIN = frozenset(
    ["bool", "complex64", "complex128"]
    + [f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)]
    + [f"float{bits}" for bits in (16, 32, 64)]
)
"""Types of arrays whose .npy header is known from type and shape."""


def to_content(what: RecordDict | Error) -> tuple[link_pb2.Content, list[bytes]]:
    """Return the head and the detached bytes."""
    content, data = link_pb2.Content(), list[bytes]()
    if isinstance(what, Error):
        content.error.code = what.code
        if what.reason is not None:
            content.error.reason = what.reason.encode(errors="backslashreplace").decode()
        return content, data
    for name, record in what.items():
        entry = content.records.add(name=name)
        if isinstance(record, ArrayRecord):
            entry.arrays.SetInParent()
            for key, array in record.items():
                data.append(_add_array(entry.arrays, key, array))
        else:
            values = entry.config if isinstance(record, ConfigRecord) else entry.metrics
            values.SetInParent()
            for key, value in record.items():
                _set(values.values.add(name=key), value, data)
    return content, data


def from_content(content: link_pb2.Content, data: Sequence[bytes]) -> RecordDict | Error:
    """Return what `to_content` was given.

    Raises:
        ProtocolError: head and bytes do not belong together, or are not what Flower's records may hold.
    """
    if content.HasField("error"):
        return Error(content.error.code, content.error.reason if content.error.HasField("reason") else None)
    found, rest = RecordDict(), iter(data)
    try:
        for record in content.records:
            if record.name in found:
                raise ProtocolError(f"A record's name should be there once. Found {record.name!r} again.")
            found[record.name] = _record(record, rest)
    except (TypeError, ValueError) as error:
        raise ProtocolError(
            f"A message's values should be what Flower's records hold. Found: {error}"
        ) from None
    if next(rest, None) is not None:
        raise ProtocolError("Every detached piece should have its place in the head. Found one too many.")
    return found


def assemble(metadata: Metadata, what: RecordDict | Error) -> Message:
    """Return a message that was made elsewhere, with the metadata it has there."""
    make: Callable[..., Message] = Message  # Flower's own way in, which its signatures leave out
    if isinstance(what, Error):
        return make(metadata=metadata, error=what)
    return make(metadata=metadata, content=what)


def _record(record: link_pb2.Record, rest: Iterator[bytes]) -> ArrayRecord | ConfigRecord | MetricRecord:
    kind = record.WhichOneof("kind")
    if kind == "arrays":
        arrays = ArrayRecord()
        for entry in record.arrays.arrays:
            arrays[entry.name] = _array(entry, _next(rest))
        return arrays
    if kind == "config":
        return ConfigRecord({value.name: _get(value, rest) for value in record.config.values})
    if kind == "metrics":
        return MetricRecord({value.name: _get(value, rest) for value in record.metrics.values})
    raise ProtocolError(f"Record {record.name!r} should hold arrays, config or metrics. Found none of them.")


def _add_array(arrays: link_pb2.Arrays, name: str, array: Array) -> bytes:
    entry = arrays.arrays.add(name=name, dtype=array.dtype, stype=array.stype, shape=array.shape)
    if array.stype == NUMPY and array.dtype in PLAIN:
        header = _npy_header(array.dtype, tuple(array.shape))
        if array.data.startswith(header):
            entry.bare = True
            return array.data[len(header) :]
    return array.data


def _array(entry: link_pb2.Array, data: bytes) -> Array:
    shape = tuple(entry.shape)
    if entry.bare:
        if entry.dtype not in PLAIN:
            raise ProtocolError(
                f"A bare array's type should be one of {sorted(PLAIN)}. Found {entry.dtype!r}."
            )
        if len(shape) > MOST_AXES:  # before they are multiplied: a long product of large numbers takes long
            raise ProtocolError(f"An array should have at most {MOST_AXES} axes. Found {len(shape)}.")
        expected = math.prod(shape) * np.dtype(entry.dtype).itemsize
        if len(data) != expected:
            raise ProtocolError(
                f"An array {entry.dtype}{list(shape)} should have {expected} bytes. Found {len(data)}."
            )
        data = _npy_header(entry.dtype, shape) + data
    return Array(entry.dtype, shape, entry.stype, data)


@lru_cache(maxsize=1024)
def _npy_header(dtype: str, shape: tuple[int, ...]) -> bytes:
    """Return what NumPy writes before the numbers of such an array."""
    buffer = BytesIO()
    fields = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, fields)
    return buffer.getvalue()


def _set(entry: link_pb2.Value, value: object, data: list[bytes]) -> None:
    if isinstance(value, bool):
        entry.truth = value
    elif isinstance(value, int):
        if -(2**63) <= value < 2**63:
            entry.whole = value
        elif value < 2**64 and value > 0:
            entry.large = value
        else:
            raise ProtocolError(f"A whole number should have at most 64 bits. Found {value}.")
    elif isinstance(value, float):
        entry.number = value
    elif isinstance(value, str):
        entry.text = value
    elif isinstance(value, bytes):
        if len(value) > DETACHED_BYTES:
            entry.detached = len(value)
            data.append(value)
        else:
            entry.blob = value
    elif isinstance(value, list):
        entry.list.SetInParent()
        for item in value:
            _set(entry.list.values.add(), item, data)
    else:
        raise ProtocolError(
            f"A value should be of a kind Flower's records know. Found {type(value).__name__}."
        )


def _get(entry: link_pb2.Value, rest: Iterator[bytes], *, nested: bool = False) -> Any:
    kind = entry.WhichOneof("kind")
    if kind is None or (kind == "list" and nested):
        raise ProtocolError(f"The value {entry.name!r} should be a scalar or a list of them. Found neither.")
    if kind == "list":
        return [_get(item, rest, nested=True) for item in entry.list.values]
    if kind == "detached":
        blob = _next(rest)
        if len(blob) != entry.detached:
            raise ProtocolError(f"{entry.name!r} should have {entry.detached} bytes. Found {len(blob)}.")
        return blob
    return getattr(entry, kind)


def _next(rest: Iterator[bytes]) -> bytes:
    try:
        return next(rest)
    except StopIteration:
        raise ProtocolError("Every detached piece of the head should follow it. Found one missing.") from None
