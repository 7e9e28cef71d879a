"""The drop-in for any Flower ClientApp: `ClientApp(mods=[compress_mod("rdo:bpp=0.2")])`.

The app goes on reading and writing plain arrays. Around it, the model comes in as a step from the one
this client holds, and the trained arrays go out as a compressed delta with error feedback. It needs
`CompressedGrid` on the server's side, and NumPy alone on this one; without that grid, messages pass as
they are.
"""

from __future__ import annotations

from dataclasses import replace

from flwr.app import ConfigRecord, Context, Error, Message, RecordDict
from flwr.clientapp.typing import ClientAppCallable, Mod

from phloem.client.records import read_state, write_state
from phloem.client.state import ClientState, Pending, settle
from phloem.client.synchronise import synchronise
from phloem.compression.codec import Codec, codec
from phloem.compression.ranking import MAGNITUDE
from phloem.compression.update import Schema, subtract
from phloem.errors import CodecError, PhloemError, ProtocolError
from phloem.protocol import FULL, MESSAGE, Delivery, Receipt, error_code, model_hash
from phloem.records import UPDATE, floats, get_blob, layout, put_blob, refilled, without
from phloem.seeds import derive

LAYOUT = f"{MESSAGE}.layout"
"""Record of the Context that holds the order of the app's arrays."""


def compress_mod(uplink: str, *, error_feedback: bool = True) -> Mod:
    """Return a mod that sends what the app trained as a delta in the codec `uplink`.

    With `error_feedback`, what the codec leaves out is kept in the Context and sent with a later
    update. List it before mods that clip or add noise, so that they see plain arrays.

    Raises:
        CodecError: `uplink` names no working codec.
    """
    chosen = codec(uplink)
    if error_feedback and chosen.feedback is None:
        chosen = codec(f"ef | {uplink}")
    if chosen.ranked_by != MAGNITUDE:
        raise CodecError(
            "A mod sees no gradients, so its codec should rank by magnitude. "
            f"Found `{uplink}`. Leave `by` out."
        )

    def mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        if MESSAGE not in message.content.config_records:
            return call_next(message, context)
        try:
            state, plain = _receive(message.content, context)
            write_state(context.state, state)
            message.content = plain
            reply = call_next(message, context)
            if reply.has_content():
                reply.content = _send(reply.content, context, state, chosen)
            return reply
        except PhloemError as error:
            return Message(Error(error_code(error), f"{type(error).__name__}: {error}"), reply_to=message)

    return mod


def _receive(content: RecordDict, context: Context) -> tuple[ClientState, RecordDict]:
    """Return the state at the delivered version, and the message as the app would have got it."""
    delivery = Delivery.from_mapping(dict(content.config_records[MESSAGE]))
    plain = RecordDict({name: record for name, record in content.items() if name not in (MESSAGE, UPDATE)})
    state = read_state(context.state)
    chain = get_blob(content)
    if chain is None:
        arrays = floats(plain)
        if state.model is not None and Schema.of(arrays) != Schema.of(state.model):
            state = ClientState(seq=state.seq)  # what is owed to another model is not owed to this one
        state = replace(state, model=arrays, held=delivery.version)
        context.state[LAYOUT] = ConfigRecord({"order": layout(plain)})
    else:
        if state.model is None:
            raise ProtocolError("Steps need a model to lead from. Found none: send the model in full.")
        schema = Schema.of(state.model)
        state = synchronise(state, delivery, chain, schema, codec(delivery.steps), FULL)
    assert state.model is not None
    if model_hash(state.model) != delivery.model_hash:
        raise ProtocolError(f"Version {state.held} should have the server's hash. Send the model in full.")
    model = state.model
    state = settle(state, delivery.acked_seq, Schema.of(model))
    return state, (plain if chain is None else refilled(plain, _order(context), model))


def _send(content: RecordDict, context: Context, state: ClientState, uplink: Codec) -> RecordDict:
    """Return the reply with its arrays replaced by their delta, if they are laid out as those that came."""
    assert state.model is not None
    trained = floats(content)
    sends = layout(content) == _order(context) and bool(trained)
    if not (sends and Schema.of(trained) == Schema.of(state.model)):
        receipt = Receipt(held=state.held, seq=state.seq, codec="")
        return RecordDict({**content, MESSAGE: ConfigRecord(receipt.to_mapping())})
    seq = state.seq + 1
    delta = subtract(trained, state.model)
    seed = derive(seq, str(context.node_id))
    blob, codec_state = uplink.encode(delta, state.codec, seed=seed, base=state.held, seq=seq)
    flight = Pending(str(uplink), seq, blob)
    write_state(context.state, replace(state, seq=seq, codec=codec_state, pending=flight))
    reply = without(content, trained)
    put_blob(reply, blob)
    reply[MESSAGE] = ConfigRecord(Receipt(held=state.held, seq=seq, codec=str(uplink)).to_mapping())
    return reply


def _order(context: Context) -> list[str]:
    order = context.state.config_records[LAYOUT]["order"]
    return [str(name) for name in order] if isinstance(order, list) else []
