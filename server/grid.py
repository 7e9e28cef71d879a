"""The drop-in for any Flower ServerApp: `strategy.start(grid=CompressedGrid(grid), ...)`.

The strategy goes on sending and getting plain arrays. What crosses the wire instead is, down, a step
from the model each node holds, and up, the delta that `compress_mod` made.
The strategy sees its own arrays plus that delta, so nothing a codec leaves out is lost to it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from flwr.app import ConfigRecord, Error, Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.run import Run

from phloem.compression.codec import codec
from phloem.compression.frame import peek
from phloem.compression.update import Schema, Update, add, is_finite
from phloem.errors import PhloemError, ProtocolError
from phloem.protocol import FULL, MESSAGE, Delivery, Receipt, error_code
from phloem.records import BLOB, UPDATE, floats, get_blob, layout, put_blob, refilled, without
from phloem.server.held import Downlink, Held, Model, Path, hold, send
from phloem.server.sanitize import brief

CAPACITY = 1000


@dataclass(frozen=True)
class Sent:
    """A message under way: the app's own, as the strategy made it, and what its arrays were."""

    message: Message
    original: RecordDict
    model: Update
    held: Model | None
    """What the node holds if it got the message; None where nothing was compressed."""

    @property
    def node(self) -> int:
        """To whom."""
        return self.message.metadata.dst_node_id

    @property
    def expired(self) -> bool:
        """Whether Flower itself no longer waits for the reply."""
        return time.time() > self.message.metadata.created_at + self.message.metadata.ttl


@dataclass
class Traffic:
    """Bytes so far in one direction: what was sent, and what plain float32 would have been."""

    messages: int = 0
    payload_bytes: int = 0
    dense_bytes: int = 0

    def count(self, payload_bytes: int, dense_bytes: int) -> None:
        """Add a message."""
        self.messages += 1
        self.payload_bytes += payload_bytes
        self.dense_bytes += dense_bytes


class CompressedGrid(Grid):
    """A Grid whose messages are compressed on their way; the strategy and the app cannot tell.

    A node gets its first model in full, as plain arrays; so does one that restarted. Nodes whose app
    does not use `compress_mod` are served as well, uncompressed. So are arrays that are not finite, and a
    node that has yet to answer. A reply that does not decode becomes an error reply, which Flower's
    strategies leave out. `uplink` and `downlink` count bytes.
    """

    def __init__(
        self,
        grid: Grid,
        downlink: str = "rdo:bpp=0.5",
        *,
        error: float = 0.02,
        held_models: int = CAPACITY,
    ) -> None:
        """Wrap `grid`; `downlink` codes the step from the model a node holds to the strategy's.

        With `rdo` a step takes what it needs to come within `error` of the strategy's model, as a share of
        its l2 norm; other codecs, and an error of 0, follow their own target. At most `held_models`
        different models are remembered; a node whose model is forgotten gets it in full.

        Raises:
            CodecError: `downlink` names no working codec.
        """
        self._grid, self._downlink = grid, Downlink(codec(downlink), FULL, held_models, error)
        self._held = Held()
        self._layouts: dict[str, list[str]] = {}
        self._acked: dict[int, int] = {}
        self._sent: dict[str, Sent] = {}
        self.uplink, self.downlink = Traffic(), Traffic()

    def set_run(self, run: Run) -> None:
        """Pass on."""
        self._grid.set_run(run)

    @property
    def run(self) -> Run:
        """The wrapped grid's run."""
        return self._grid.run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Pass on."""
        return self._grid.create_message(content, message_type, dst_node_id, group_id, ttl)

    def get_node_ids(self) -> Iterable[int]:
        """Return the wrapped grid's nodes."""
        return self._grid.get_node_ids()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Compress and push."""
        pending = self._compress_all(messages)
        ids = list(self._grid.push_messages([sent.message for sent in pending]))
        self._sent = {key: sent for key, sent in self._sent.items() if not sent.expired}
        self._sent.update(zip(ids, pending, strict=True))
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Pull and restore."""
        replies = list(self._grid.pull_messages(message_ids))
        restored = [self._restore(reply) for reply in replies]
        for reply in replies:
            self._sent.pop(reply.metadata.reply_to_message_id, None)
        return restored

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Compress, send, receive and restore."""
        pending = self._compress_all(messages)
        replies = list(self._grid.send_and_receive([sent.message for sent in pending], timeout=timeout))
        self._sent.update({sent.message.metadata.message_id: sent for sent in pending})
        restored = [self._restore(reply) for reply in replies]
        for sent in pending:
            self._sent.pop(sent.message.metadata.message_id, None)
        return restored

    def _compress_all(self, messages: Iterable[Message]) -> list[Sent]:
        """Compress; strategies put one and the same content in many messages, which is read once."""
        messages = list(messages)
        batches: dict[int, dict[int, Message]] = {}
        compressed: dict[int, Sent] = {}
        # A second message to a node before it answered the first cannot tell it whether the answer counted,
        # and the node would send it again: such a message goes as the app made it.
        busy = {sent.node for sent in self._sent.values() if sent.held is not None and not sent.expired}
        for place, message in enumerate(messages):
            node = message.metadata.dst_node_id
            if node in busy:
                compressed[place] = Sent(message, message.content, {}, None)
            else:
                batches.setdefault(id(message.content), {})[place] = message
            busy.add(node)
        for batch in batches.values():
            compressed.update(zip(batch, self._compress(list(batch.values())), strict=True))
        return [compressed[place] for place in range(len(messages))]

    def _compress(self, batch: list[Message]) -> list[Sent]:
        """Compress messages that share their content."""
        original = batch[0].content
        model = floats(original)
        if not model or not is_finite(model):
            return [Sent(message, original, model, None) for message in batch]
        schema, order = Schema.of(model), layout(original)
        nodes = [str(message.metadata.dst_node_id) for message in batch]
        self._held, plain = hold(self._held, model)
        known = [
            node
            for node in nodes
            if (there := self._held.models.get(self._held.position(node).version)) is not None
            and Schema.of(there.weights) == schema
            and self._layouts.get(node) == order
        ]
        self._held, paths = send(self._held, known, model, self._downlink, seed=plain.version)
        return [
            self._carry(message, model, paths.get(node), plain)
            for message, node in zip(batch, nodes, strict=True)
        ]

    def _carry(self, message: Message, model: Update, path: Path | None, plain: Model) -> Sent:
        original, node = message.content, message.metadata.dst_node_id
        if path is None:  # a newcomer: plain arrays, as Flower sends them, tell it the schema as well
            content, held = refilled(original, layout(original), model), plain
            payload = Schema.of(model).dense_bytes
        else:
            content, held = without(original, model), path.model
            put_blob(content, path.blob)
            payload = len(path.blob)
        steps = str(self._downlink.steps)
        delivery = Delivery(held.version, held.hash, self._acked.get(node, 0), steps)
        content[MESSAGE] = ConfigRecord(delivery.to_mapping())
        self.downlink.count(payload, Schema.of(model).dense_bytes)
        carried = Message(
            content,
            node,
            message.metadata.message_type,
            ttl=message.metadata.ttl,
            group_id=message.metadata.group_id,
        )
        return Sent(carried, original, model, held)

    def _restore(self, reply: Message) -> Message:
        sent = self._sent.get(reply.metadata.reply_to_message_id)
        if sent is None or sent.held is None:
            return reply
        node = sent.node
        if reply.has_error():
            self._held = self._held.forget(str(node))  # it may have lost its model
            return reply
        if MESSAGE not in reply.content.config_records:
            return reply  # no mod there: it got plain arrays and sent plain arrays
        try:
            reply.content = self._open(node, reply.content, sent)
        except PhloemError as error:
            reason = brief(f"{type(error).__name__}: {error}")  # it may quote what the node wrote
            return Message(Error(error_code(error), reason), reply_to=sent.message)
        return reply

    def _open(self, node: int, content: RecordDict, sent: Sent) -> RecordDict:
        receipt = Receipt.from_mapping(dict(content.config_records[MESSAGE]))
        expected = Delivery.from_mapping(dict(sent.message.content.config_records[MESSAGE]))
        if receipt.held != expected.version:
            raise ProtocolError(f"Node {node} should hold version {expected.version}. Found {receipt.held}.")
        if sent.held is not None:
            self._held = self._held.arrive(str(node), sent.held)
            self._layouts[str(node)] = layout(sent.original)
        plain = RecordDict({name: record for name, record in content.items() if name != MESSAGE})
        blob = get_blob(content)
        if blob is None:
            if receipt.codec:
                raise ProtocolError(f"Node {node} should send a frame of {receipt.codec!r:.80}. Found none.")
            return plain
        schema = Schema.of(sent.model)
        delta = codec(receipt.codec).decode(blob, schema)
        header = peek(blob)
        if (header.base, header.seq) != (receipt.held, receipt.seq) or receipt.seq <= expected.acked_seq:
            raise ProtocolError(
                f"Node {node} should send a number above {expected.acked_seq} on version {receipt.held}. "
                f"Found number {header.seq} on version {header.base}."
            )
        self._acked[node] = receipt.seq  # even if what follows drops it: else it would come back every round
        with np.errstate(over="ignore"):
            trained = add(sent.model, delta)
        if not is_finite(trained):
            raise ProtocolError(f"Node {node} should send finite arrays. Found an overflow.")
        self.uplink.count(len(blob), schema.dense_bytes)
        return refilled(without(plain, [f"{UPDATE}/{BLOB}"]), layout(sent.original), trained)
