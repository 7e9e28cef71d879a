"""A client's state in Flower's Context: written after every round, read before the next.

Its records are named with a prefix of their own, so that an app may keep what it likes beside them.
"""

from __future__ import annotations

from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from phloem.client.plain import NAMES, Plain, from_plain, to_plain
from phloem.client.state import ClientState
from phloem.records import from_record


def read_state(records: RecordDict) -> ClientState:
    """Return the client's state; a Context that holds none is a client that never trained.

    Raises:
        ProtocolError: the records are not what `write_state` wrote.
    """
    scalars, arrays = records.config_records, records.array_records
    return from_plain(
        Plain(
            {name: {**scalars[name]} for name in NAMES if name in scalars},
            {name: from_record(arrays[name]) for name in NAMES if name in arrays},
        )
    )


def write_state(records: RecordDict, state: ClientState) -> None:
    """Replace what the Context holds of phloem's by `state`."""
    for name in NAMES:
        records.pop(name, None)
    plain = to_plain(state)
    for name, scalars in plain.scalars.items():
        records[name] = ConfigRecord(dict(scalars))
    for name, arrays in plain.arrays.items():
        records[name] = ArrayRecord({key: Array(array) for key, array in arrays.items()})
