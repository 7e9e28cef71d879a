"""phloem's bytes and tensors in Flower's records: the one place that knows both.

An update travels as one array of bytes in one record: one object, one request. Everything else in a
message is Flower's own.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from flwr.app import Array, ArrayRecord, RecordDict

from phloem.compression.update import Update
from phloem.errors import ProtocolError

STYPE = "phloem.update.v1"
"""Flower's serialisation type of the array that holds a blob."""

NUMPY = "numpy.ndarray"
"""Flower's serialisation type of a plain array."""

UPDATE, BLOB = "phloem.update", "blob"
"""Names of the record that holds a blob, and of the array in it."""


def put_blob(content: RecordDict, blob: bytes) -> None:
    """Add `blob` to a message's content."""
    content[UPDATE] = ArrayRecord({BLOB: Array("bytes", (len(blob),), STYPE, blob)})


def get_blob(content: RecordDict) -> bytes | None:
    """Return the blob in a message's content, or None where there is none of phloem's kind."""
    record = content.array_records.get(UPDATE)
    array = None if record is None else record.get(BLOB)
    return array.data if array is not None and array.stype == STYPE else None


def to_record(update: Update, dtype: type[np.floating] = np.float32) -> ArrayRecord:
    """Return the tensors as Flower's arrays."""
    return ArrayRecord({name: Array(np.asarray(tensor, dtype)) for name, tensor in update.items()})


def from_record(record: ArrayRecord) -> dict[str, np.ndarray]:
    """Return Flower's arrays as tensors."""
    return {name: array.numpy() for name, array in record.items()}


def layout(content: RecordDict) -> list[str]:
    """Return `record/array` for every array of a message's content, in order."""
    return [f"{record}/{name}" for record, arrays in content.array_records.items() for name in arrays]


def floats(content: RecordDict) -> dict[str, np.ndarray]:
    """Return every plain float32 or float64 array of a message's content as float32, named as in `layout`.

    Some of Flower's strategies turn what they get into float64. Arrays of other types or without axes, such
    as counters, which strategies average into floats, are no updates: they stay where they are.
    """
    with np.errstate(over="ignore"):  # float64 beyond float32: infinite, which whoever asks checks
        return {
            f"{record}/{name}": array.numpy().astype(np.float32)
            for record, arrays in content.array_records.items()
            for name, array in arrays.items()
            if array.stype == NUMPY and array.dtype in ("float32", "float64") and len(array.shape)
        }


def without(content: RecordDict, names: Iterable[str]) -> RecordDict:
    """Return a copy of `content` without these arrays, nor records that held nothing else."""
    gone = set(names)
    copy = RecordDict(dict(content.items()))
    for record, arrays in content.array_records.items():
        left = {name: array for name, array in arrays.items() if f"{record}/{name}" not in gone}
        if left:
            copy[record] = ArrayRecord(left)
        elif arrays:
            del copy[record]
    return copy


def refilled(content: RecordDict, order: Iterable[str], update: Update) -> RecordDict:
    """Invert `without`: a copy of `content` with the arrays of `update` back, all in the given order.

    Raises:
        ProtocolError: an array of `order` is in neither.
    """
    records: dict[str, dict[str, Array]] = {}
    for key in order:
        record, _, name = key.partition("/")
        there = dict(content.array_records.get(record) or {})
        if key not in update and name not in there:
            raise ProtocolError(f"The message should hold the array {key!r}. It is not there.")
        records.setdefault(record, {})[name] = Array(update[key]) if key in update else there[name]
    copy = RecordDict(dict(content.items()))
    for record, arrays in records.items():
        copy[record] = ArrayRecord(arrays)
    return copy
