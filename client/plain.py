"""A client's state as plain names, numbers and arrays, which is how it is kept, and how much that is.

Where it is kept, in Flower's Context or elsewhere, adds its own to it, but for NumPy's header before each
array, which is counted here: it is there wherever an array is bytes.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phloem.client.memory import Memory
from phloem.client.replay import Buffer
from phloem.client.state import ClientState, Pending
from phloem.compression.codec import CodecState
from phloem.errors import ProtocolError
from phloem.protocol import MESSAGE, Reply

Scalars = dict[str, Any]
"""Whole numbers, floats, texts and bytes."""

Arrays = Mapping[str, NDArray[np.generic]]

STATE, SENT = MESSAGE, f"{MESSAGE}.sent"
MODEL, RESIDUAL, WARM, FISHER, REPLAY, SPREAD, OWN = (
    f"{MESSAGE}.{part}" for part in ("model", "residual", "warm", "fisher", "replay", "spread", "own")
)
NAMES = (STATE, MODEL, RESIDUAL, WARM, FISHER, REPLAY, SPREAD, OWN, SENT)
"""Of every group there may be."""

NUMBER_BYTES = 8


@dataclass(frozen=True)
class Plain:
    """Groups of scalars and groups of arrays, by name; a group that would be empty is not there."""

    scalars: dict[str, Scalars] = field(default_factory=dict)
    arrays: dict[str, Arrays] = field(default_factory=dict)

    @property
    def sizes_bytes(self) -> dict[str, int]:
        """Of each group: its names, numbers at eight bytes each, texts, and arrays with NumPy's header."""
        sizes = {}
        for name, scalars in self.scalars.items():
            sizes[name] = len(name) + sum(len(key) + _scalar_bytes(value) for key, value in scalars.items())
        for name, arrays in self.arrays.items():
            sizes[name] = len(name) + sum(len(key) + _array_bytes(array) for key, array in arrays.items())
        return sizes

    @property
    def size_bytes(self) -> int:
        """Of all groups."""
        return sum(self.sizes_bytes.values())


def to_plain(state: ClientState) -> Plain:
    """Return the state as it is kept."""
    memory = state.memory
    numbers: Scalars = {"held": state.held, "position": state.position, "seq": state.seq}
    if memory.hasty:
        numbers["hasty"] = memory.hasty
    if memory.errors:
        numbers["errors"] = memory.errors
    groups: dict[str, Arrays | None] = {
        MODEL: state.model,
        RESIDUAL: state.codec.residual,
        WARM: state.codec.warm,
        FISHER: memory.fisher,
        SPREAD: None if memory.spread is None else {"squares": memory.spread},
        OWN: state.own,
    }
    if (buffer := memory.buffer) is not None:
        numbers["ceiling"] = buffer.ceiling
        logits = {} if buffer.logits is None else {"logits": buffer.logits}
        groups[REPLAY] = {"x": buffer.x, "y": buffer.y, "place": buffer.place, **logits}
    scalars = {STATE: numbers}
    if (sent := state.pending) is not None:
        reply = {} if sent.reply is None else sent.reply.to_mapping()
        answer = {f"reply.{key}": value for key, value in reply.items()}
        scalars[SENT] = {"codec": sent.codec, "seq": sent.seq, "blob": sent.blob, **answer}
    return Plain(scalars, {name: arrays for name, arrays in groups.items() if arrays})


def from_plain(plain: Plain) -> ClientState:
    """Invert `to_plain`; nothing at all is a client that never trained.

    Raises:
        ProtocolError: this is not what `to_plain` gave.
    """
    if STATE not in plain.scalars:
        return ClientState()
    numbers, arrays = plain.scalars[STATE], plain.arrays
    try:
        held, position, seq = (_whole(numbers[key]) for key in ("held", "position", "seq"))
        residual, model, fisher, own = (_update(arrays.get(name)) for name in (RESIDUAL, MODEL, FISHER, OWN))
        codec = CodecState(residual, _update(arrays.get(WARM)) or {})
        errors = _bytes(numbers.get("errors", b""))
        spread = (_update(arrays.get(SPREAD)) or {}).get("squares")
        memory = Memory(_buffer(numbers, arrays), fisher, errors, _whole(numbers.get("hasty", 0)), spread)
        return ClientState(held, model, position, seq, codec, _pending(plain.scalars.get(SENT)), memory, own)
    except (KeyError, TypeError) as error:
        raise ProtocolError(f"The client's state should be as phloem left it. Found {error!r}.") from None


def _buffer(numbers: Scalars, arrays: Mapping[str, Arrays]) -> Buffer | None:
    if REPLAY not in arrays:
        return None
    kept = arrays[REPLAY]
    return Buffer(
        kept["x"],
        kept["y"].astype(np.uint16),
        kept["place"].astype(np.uint32),
        kept["logits"].astype(np.float16) if "logits" in kept else None,
        _whole(numbers["ceiling"]),
    )


def _pending(scalars: Scalars | None) -> Pending | None:
    if scalars is None:
        return None
    sent = dict(scalars)
    blob, text, seq = _bytes(sent.pop("blob")), str(sent.pop("codec")), _whole(sent.pop("seq"))
    answer = {key.removeprefix("reply."): value for key, value in sent.items()}
    return Pending(text, seq, blob, Reply.from_mapping(answer) if answer else None)


def _update(arrays: Arrays | None) -> dict[str, NDArray[np.float32]] | None:
    return (
        None
        if arrays is None
        else {name: array.astype(np.float32, copy=False) for name, array in arrays.items()}
    )


def _whole(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(f"{value!r} is not a whole number")
    return value


def _bytes(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError(f"{value!r} is not bytes")
    return value


def _scalar_bytes(value: object) -> int:
    if isinstance(value, str):
        return len(value.encode())
    return len(value) if isinstance(value, bytes) else NUMBER_BYTES


def _array_bytes(array: NDArray[np.generic]) -> int:
    return _header_bytes(array.shape, array.dtype) + array.nbytes


@lru_cache(maxsize=1024)
def _header_bytes(shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> int:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": dtype.str, "fortran_order": False, "shape": shape})
    return len(header.getvalue())
