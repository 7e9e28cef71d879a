"""Bringing a client's model to the server's version: apply the frames it missed, verify the hash."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from phloem.client.state import ClientState
from phloem.compression.codec import Codec
from phloem.compression.frame import peek, unpack_chain
from phloem.compression.update import Schema, Update, add
from phloem.errors import ProtocolError
from phloem.protocol import FIRST_VERSION, LONGEST_CHAIN, NO_VERSION, Delivery, Instruction, model_hash


def start(state: ClientState, first: Callable[[], Update]) -> ClientState:
    """Return the state of a client that holds a model: its own, or the first version, made from the seed."""
    return state if state.model is not None else replace(state, model=first(), held=FIRST_VERSION)


def synchronise(
    state: ClientState,
    instruction: Instruction | Delivery,
    chain: bytes,
    schema: Schema,
    steps: Codec,
    full: Codec,
) -> ClientState:
    """Apply `chain` to the held model.

    A frame whose base is its own version is the model itself, in the codec `full`; any other is a
    step in the codec `steps` and needs its base. Steps the client already took are passed over, so the
    server may safely send from an older version than the client holds.

    Raises:
        CorruptUpdate: a frame does not decode.
        ProtocolError: the chain does not lead to the instructed version, or not to the server's model.
    """
    model, held = state.model, state.held
    for place, blob in enumerate(unpack_chain(chain, LONGEST_CHAIN)):
        header = peek(blob)
        if header.base == header.seq:
            if place > 0:
                raise ProtocolError("A model in full should come first in a chain. Found it after a frame.")
            model, held = full.decode(blob, schema), header.seq
        elif header.seq > held:
            if model is None or header.base != held:
                raise ProtocolError(
                    f"A step from version {header.base} needs that version as its base. Found "
                    f"{'no model' if held == NO_VERSION else f'version {held}'}: send the model in full."
                )
            model, held = add(model, steps.decode(blob, schema)), header.seq
    if model is None or held != instruction.version:
        raise ProtocolError(
            f"The chain should lead to version {instruction.version}. Found {held}: send the model in full."
        )
    if model_hash(model) != instruction.model_hash:
        raise ProtocolError(
            f"Version {held} should have the server's hash. It differs: send the model in full."
        )
    return replace(state, held=held, model=model)
