"""Bringing a client's model to the server's version: apply the frames it missed, verify the hash."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from phloem.client.state import ClientState
from phloem.compression.codec import Codec
from phloem.compression.frame import Header, peek, unpack_chain
from phloem.compression.update import Schema, Update, add
from phloem.errors import ProtocolError
from phloem.protocol import FIRST_VERSION, LONGEST_CHAIN, NO_VERSION, Delivery, Instruction, model_hash


def synchronise(
    state: ClientState,
    instruction: Instruction | Delivery,
    chain: bytes,
    schema: Schema,
    steps: Codec,
    full: Codec,
    first: Callable[[], Update] | None = None,
) -> ClientState:
    """Apply `chain`, from the frame on that starts where this client is.

    A frame whose base is its own version is the model itself, in the codec `full`; any other is a step in
    the codec `steps`. Steps the client already took are passed over, so the server may safely send from an
    older version than the client holds; and `first` makes the first version, from which it may always send.

    Raises:
        CorruptUpdate: a frame does not decode.
        ProtocolError: the chain does not lead to the instructed version, or not to the server's model.
    """
    frames = [(peek(blob), blob) for blob in unpack_chain(chain, LONGEST_CHAIN)]
    model, held = state.model, state.held
    if first is not None and _should_start_over(held, instruction.version, [header for header, _ in frames]):
        model, held = first(), FIRST_VERSION
    for place, (header, blob) in enumerate(frames):
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


def _should_start_over(held: int, wanted: int, headers: Sequence[Header]) -> bool:
    """Tell whether the chain begins at the first version and offers no way to go on from `held`."""
    start = headers[0].base if headers else wanted
    goes_on = held == wanted or any(header.base == held for header in headers)
    return start == FIRST_VERSION and not goes_on
