"""The in-process carrier: a Flower Grid that hands every message to the ClientApp itself, as bytes.

Each message, both ways, is serialised into Flower's objects and read back, so no client ever sees
another's memory, and the objects' sizes are known because they were made. Where an experiment has a network
to simulate, what it loses is carried as far as it came: its bytes count.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from operator import itemgetter

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto
from flwr.proto.recorddict_pb2 import RecordDict as ProtoRecordDict
from flwr.serverapp import Grid
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, no_object_id_recompute
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from phloem.config import Scalar
from phloem.protocol import MESSAGE
from phloem.simulation.network import Fate, Network

RUN_ID = 1
SERVER_NODE = 1
FIRST_NODE = 2
APP_RAISED = 2
"""Flower's error code for a ClientApp that raised."""

Tap = Callable[[Message], None]


def _nothing(message: Message) -> None:
    """Let the message pass."""


class LocalGrid(Grid):
    """One run with `clients` nodes in this process; node `FIRST_NODE + i` holds partition `i`."""

    def __init__(
        self,
        app: ClientApp,
        clients: int,
        run_config: Mapping[str, Scalar],
        tap: Tap | None = None,
        network: Network | None = None,
    ) -> None:
        """`tap` sees every message as the receiver does, both ways; `network` loses and delays them."""
        self._app, self._tap, self._network = app, tap or _nothing, network
        self._run = Run.create_empty(run_id=RUN_ID)
        TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = RUN_ID, RUN_ID, SERVER_NODE
        self._ids = itertools.count(1)
        self._sizes: dict[str, int] = {}
        self._replies: dict[str, Message] = {}
        self._touched: set[int] = set()
        self.contexts = {
            FIRST_NODE + i: Context(
                run_id=RUN_ID,
                node_id=FIRST_NODE + i,
                node_config={"partition-id": i, "num-partitions": clients},
                state=RecordDict(),
                run_config=dict(run_config),
            )
            for i in range(clients)
        }

    def changed_states(self) -> dict[str, bytes]:
        """Return the states that clients were given since this was last asked, by partition."""
        touched, self._touched = sorted(self._touched), set()
        return {
            str(node - FIRST_NODE): recorddict_to_proto(self.contexts[node].state).SerializeToString()
            for node in touched
        }

    def restore_states(self, states: Mapping[str, bytes]) -> None:
        """Put the clients back to where `changed_states` found them."""
        for partition, data in states.items():
            node = FIRST_NODE + int(partition)
            self.contexts[node].state = recorddict_from_proto(ProtoRecordDict.FromString(data))
            self._touched.add(node)

    def set_run(self, run: Run) -> None:
        """Replace the run's description."""
        self._run = run

    @property
    def run(self) -> Run:
        """The run's description."""
        return self._run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Make a message; Flower deprecates this in favour of `Message(...)`."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> list[int]:
        """Return all nodes: in process, every one is always there."""
        return list(self.contexts)

    def object_bytes(self, message: Message) -> int:
        """Return the size of a message that this grid carried, counted when it was serialised."""
        return self._sizes[message.metadata.message_id]

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Deliver messages at once and keep the replies."""
        sent = list(messages)
        self._replies.update({reply.metadata.reply_to_message_id: reply for reply in self._exchange(sent)})
        return [message.metadata.message_id for message in sent]

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Return the replies to these messages, once."""
        return [self._replies.pop(i) for i in message_ids if i in self._replies]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Deliver messages and return the replies in the order of their arrival."""
        self._sizes.clear()
        return self._exchange(messages)

    def _exchange(self, messages: Iterable[Message]) -> list[Message]:
        """Deliver messages one after the other, as far as the network lets them and their replies through."""
        if self._network is None:
            return list(self._deliver(messages))
        arrived: list[tuple[Fate, Message]] = []
        for message in messages:
            fate = self._fate(self._network, message)
            if not fate.reached:
                self._carry(message)
                continue
            [reply] = self._deliver([message])
            if fate.answered:
                arrived.append((fate, reply))
        return [reply for _, reply in sorted(arrived, key=itemgetter(0))]

    def _fate(self, network: Network, message: Message) -> Fate:
        """Return what becomes of a message; a greeting, and whatever is not phloem's own, goes its way."""
        record = message.content.config_records.get(MESSAGE) if message.has_content() else None
        if record is None or not isinstance(number := record.get("round"), int):
            return Fate(0.0, 0.0)
        return network.fate(number, str(message.metadata.dst_node_id - FIRST_NODE))

    def _deliver(self, messages: Iterable[Message]) -> Iterable[Message]:
        for message in messages:
            arrived = self._carry(message)
            self._tap(arrived)
            context = self.contexts[message.metadata.dst_node_id]
            self._touched.add(context.node_id)
            try:
                reply = self._carry(self._app(message=arrived, context=context))
            except Exception as error:  # as on Flower's engine: a client that breaks is a reply, not the end
                reason = f"{type(error).__name__}: {error}".encode(errors="backslashreplace").decode()
                reply = self._carry(Message(Error(APP_RAISED, reason), reply_to=arrived))
            self._tap(reply)
            yield reply

    def _carry(self, message: Message) -> Message:
        message.metadata.__dict__["_message_id"] = f"{next(self._ids):016x}"
        with no_object_id_recompute():
            parts = {key: part.deflate() for key, part in get_all_nested_objects(message).items()}
            self._sizes[message.metadata.message_id] = sum(map(len, parts.values()))
            arrived = inflate_object_from_contents(message.object_id, parts)  # uses the parts up
        assert isinstance(arrived, Message)
        arrived.metadata.__dict__["_message_id"] = message.metadata.message_id
        return arrived
