"""What a client keeps between rounds, as a value; nothing else in a client remembers anything.

Both copies of an update's mass are here until the server has spoken: the residual as it is if
the update in flight arrived, and the frame in flight, from which the rest follows if it did not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from phloem.client.memory import NO_MEMORY, Memory
from phloem.compression.codec import EMPTY, CodecState, codec
from phloem.compression.update import Schema, Update, add
from phloem.protocol import NO_VERSION, Instruction, Reply


@dataclass(frozen=True)
class Pending:
    """An update that was sent and not yet acknowledged."""

    codec: str
    seq: int
    blob: bytes
    reply: Reply | None = None
    """The very reply it was sent in, to answer the same instruction with again."""

    def answers(self, instruction: Instruction) -> bool:
        """Tell whether this is the answer to `instruction`, which the server did not get or did not apply."""
        if self.reply is None or self.seq <= instruction.acked_seq:
            return False
        asked = (instruction.round, instruction.version, instruction.codec)
        return (self.reply.round, self.reply.held, self.codec) == asked


@dataclass(frozen=True)
class ClientState:
    """A client between two rounds.

    `codec` holds the residual and warm starts as they are if `pending` is applied by the server.
    """

    held: int = NO_VERSION
    model: Update | None = None
    position: int = 0
    """How many samples of the stream have been consumed."""
    seq: int = 0
    codec: CodecState = EMPTY
    pending: Pending | None = None
    memory: Memory = NO_MEMORY
    own: Update | None = None
    """The client's own network, where logits travel and `model` is their consensus."""


def settle(state: ClientState, acked_seq: int, schema: Schema) -> ClientState:
    """Commit the update in flight if the server applied it, else take its mass back.

    With a codec that has no residual a lost update is lost; that is what such a codec means.
    """
    settled = replace(state, pending=None, seq=max(state.seq, acked_seq))
    pending, residual = state.pending, state.codec.residual
    if pending is None or pending.seq <= acked_seq or residual is None:
        return settled
    returned = add(residual, codec(pending.codec).decode(pending.blob, schema))
    return replace(settled, codec=replace(state.codec, residual=returned))
