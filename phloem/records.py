"""phloem's bytes and tensors in Flower's records: the one place that knows both.

An update travels as one array of bytes in one record: one object, one request. Everything else in a
message is Flower's own.
"""

from __future__ import annotations

import numpy as np
from flwr.app import Array, ArrayRecord, RecordDict

from phloem.compression.update import Update

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


def floats(content: RecordDict) -> dict[str, np.ndarray]:
    """Return every plain float32 array in a message's content, by record and name, in their order.

    Arrays of other types, such as counters, are not updates: they stay where they are.
    """
    return {
        _key(record_name, name): array.numpy()
        for record_name, record in content.array_records.items()
        for name, array in record.items()
        if array.stype == NUMPY and array.dtype == "float32"
    }


def with_floats(content: RecordDict, update: Update) -> RecordDict:
    """Return a copy of `content` whose arrays named in `update` are replaced, float32 or not."""
    copy = RecordDict(dict(content.items()))
    for record_name, record in content.array_records.items():
        copy[record_name] = ArrayRecord(
            {
                name: Array(update[key]) if (key := _key(record_name, name)) in update else array
                for name, array in record.items()
            }
        )
    return copy


def _key(record: str, name: str) -> str:
    return f"{record}/{name}"
