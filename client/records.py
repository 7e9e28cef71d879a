"""A client's state in Flower's Context: written after every round, read before the next.

Its records are named with a prefix of their own, so that an app may keep what it likes beside them.
"""

from __future__ import annotations

from flwr.app import ConfigRecord, RecordDict

from phloem.client.state import ClientState, Pending
from phloem.compression.codec import CodecState
from phloem.compression.update import Update
from phloem.errors import ProtocolError
from phloem.protocol import MESSAGE, Reply
from phloem.records import from_record, to_record

MODEL, RESIDUAL, WARM, SENT = (f"{MESSAGE}.{part}" for part in ("model", "residual", "warm", "sent"))


def read_state(records: RecordDict) -> ClientState:
    """Return the client's state; a Context that holds none is a client that never trained.

    Raises:
        ProtocolError: the records are not what `write_state` wrote.
    """
    if MESSAGE not in records:
        return ClientState()
    scalars = records.config_records[MESSAGE]
    try:
        held, position, seq = (_whole(scalars[key]) for key in ("held", "position", "seq"))
        codec_state = CodecState(_arrays(records, RESIDUAL), _arrays(records, WARM) or {})
        return ClientState(held, _arrays(records, MODEL), position, seq, codec_state, _pending(records))
    except (KeyError, TypeError) as error:
        raise ProtocolError(f"The client's state should be as phloem left it. Found {error!r}.") from None


def write_state(records: RecordDict, state: ClientState) -> None:
    """Replace what the Context holds of phloem's by `state`."""
    for name in (MESSAGE, MODEL, RESIDUAL, WARM, SENT):
        records.pop(name, None)
    records[MESSAGE] = ConfigRecord({"held": state.held, "position": state.position, "seq": state.seq})
    for name, arrays in ((MODEL, state.model), (RESIDUAL, state.codec.residual), (WARM, state.codec.warm)):
        if arrays:
            records[name] = to_record(arrays)
    if (sent := state.pending) is not None:
        records[SENT] = ConfigRecord({"codec": sent.codec, "seq": sent.seq, "blob": sent.blob})
        for key, value in ({} if sent.reply is None else sent.reply.to_mapping()).items():
            records.config_records[SENT][f"reply.{key}"] = value


def _pending(records: RecordDict) -> Pending | None:
    if SENT not in records:
        return None
    sent = dict(records.config_records[SENT])
    blob, text, seq = sent.pop("blob"), str(sent.pop("codec")), _whole(sent.pop("seq"))
    if not isinstance(blob, bytes):
        raise TypeError(f"blob is {type(blob).__name__}")
    answer = {key.removeprefix("reply."): value for key, value in sent.items()}
    return Pending(text, seq, blob, Reply.from_mapping(answer) if answer else None)


def _arrays(records: RecordDict, name: str) -> Update | None:
    return from_record(records.array_records[name]) if name in records else None


def _whole(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(f"{value!r} is not a whole number")
    return value
