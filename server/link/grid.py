"""The link as a Flower Grid: any ServerApp and any strategy reach their devices over it, unchanged.

Messages wait for a device that is away and are handed out again when it comes back; a device that stays away
counts as missing, as on Flower's own engine.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from flwr.app import ConfigRecord, Error, Message, Metadata, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

import phloem
from phloem.config import Scalar
from phloem.errors import ProtocolError
from phloem.link.records import assemble, from_content, to_content
from phloem.link.stream import parse, short_hash, squeeze_alone
from phloem.proto import link_pb2
from phloem.server.link.mailbox import Parcel
from phloem.server.link.registry import Place
from phloem.server.link.service import LinkService
from phloem.server.link.session import Arrival, Terms

SERVER_NODE, RUN = 1, 1
UNAVAILABLE, UNREADABLE = 5, 6
"""Error codes of replies that the link makes itself: Flower's own for a node that is gone, one of ours."""

_POLL_S = 0.5
_REMEMBERED = 5000
_MESSAGES_A_BOOT = 1 << 24


@dataclass(frozen=True)
class Asked:
    """A message on its way, without its content."""

    metadata: Metadata
    node: int
    number: int
    expires_at: float


@dataclass(frozen=True)
class Size:
    """A message as the link carried it: its content, and all bytes at the socket if they were counted."""

    content: int
    wire: int | None = None


class LinkGrid(Grid):
    """Carries messages to the devices of a LinkService and their replies back."""

    def __init__(
        self,
        service: LinkService,
        run_config: Mapping[str, Scalar],
        clients: int,
        run_id: int,
        defaults: Mapping[str, Scalar] | None = None,
    ) -> None:
        """Prepare a run; `clients` is how many partitions its devices are told there are.

        Settings with the value they have in `defaults` are left out for devices of this very version.
        """
        self._service, self._run = service, Run.create_empty(run_id=RUN)
        TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = RUN, 1, SERVER_NODE
        self._numbers = itertools.count(service.registry.next_boot() * _MESSAGES_A_BOOT)
        self._changed = threading.Condition()
        self._asked: dict[tuple[int, int], Asked] = {}
        self._answered: dict[str, Message | Arrival] = {}
        self._sizes: dict[str, Size] = {}
        known = defaults or {}
        least = {key: value for key, value in run_config.items() if known.get(key) != value}

        def settings(place: Place, version: str) -> bytes:
            run = least if version == phloem.__version__ else dict(run_config)
            node = {"partition-id": place.place, "num-partitions": clients}
            record = RecordDict({"run": ConfigRecord(dict(run)), "node": ConfigRecord(dict(node))})
            return squeeze_alone(to_content(record)[0].SerializeToString())

        terms = Terms(
            run=run_id,
            settings_id=short_hash(repr((sorted(run_config.items()), clients, phloem.__version__)).encode()),
            settings=settings,
            most_bytes=service.config.most_bytes,
        )
        service.begin(terms, self._arrive)

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
        """Return the nodes that are connected now."""
        return self._service.connected()

    def reborn_nodes(self) -> list[int]:
        """Return the nodes that came back without what they had kept, since the last call."""
        return self._service.reborn()

    def dismiss(self, node: int, reason: str) -> None:
        """Tell a device that this run goes on without it, and why; it ends with that text."""
        self._service.dismiss(node, reason)

    def object_bytes(self, message: Message) -> int:
        """Return the size of a carried message's content: everything but the stream's framing."""
        return self._sizes[message.metadata.message_id].content

    def wire_bytes(self, message: Message) -> int | None:
        """Return what the exchange cost at the socket in this message's direction; None if nobody counted."""
        size = self._sizes.get(message.metadata.message_id)
        return None if size is None else size.wire

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Leave messages for their nodes; one that cannot wait there is answered with an error."""
        ids, letters = [], []
        with self._changed:
            for message in messages:
                letters.append((message.metadata.dst_node_id, self._wrap(message)))
                ids.append(message.metadata.message_id)
            while len(self._sizes) > max(_REMEMBERED, 4 * len(ids)):
                del self._sizes[next(iter(self._sizes))]
        for (node, parcel), taken in zip(letters, self._service.post(letters), strict=True):
            if not taken:
                self._fail(self._asked[node, parcel.id], UNAVAILABLE, _refusal(self._service, node))
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Return the replies to these messages that are there, each once."""
        self._give_up_on_the_absent()
        with self._changed:
            found = [self._answered.pop(key) for key in message_ids if key in self._answered]
        return [self._reply(item) if isinstance(item, Arrival) else item for item in found]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Send messages and wait for the replies, for at most `timeout` seconds; late ones are not taken."""
        ids = self.push_messages(messages)
        missing, replies = set(ids), list[Message]()
        deadline = None if timeout is None else time.monotonic() + timeout
        while missing and (deadline is None or time.monotonic() < deadline):
            with self._changed:
                if missing.isdisjoint(self._answered):
                    left = _POLL_S if deadline is None else min(_POLL_S, deadline - time.monotonic())
                    self._changed.wait(max(left, 0))
            for reply in self.pull_messages(missing):
                replies.append(reply)
                missing.discard(reply.metadata.reply_to_message_id)
        self.withdraw(missing)
        return replies

    def withdraw(self, message_ids: Iterable[str]) -> None:
        """Want no more replies to these messages: what comes is not taken."""
        unwanted = set(message_ids)
        self._forget(
            {key: asked for key, asked in self._asked.items() if asked.metadata.message_id in unwanted}
        )

    def _wrap(self, message: Message) -> Parcel:
        metadata, number = message.metadata, next(self._numbers)
        metadata.__dict__["_message_id"] = f"{number:016x}"
        content, data = to_content(message.content if message.has_content() else message.error)
        head = link_pb2.TaskHead(
            type=metadata.message_type,
            group=metadata.group_id,
            created_at=metadata.created_at,
            ttl=metadata.ttl,
            content=content,
        )
        parcel = Parcel(number, head.SerializeToString(), tuple(data))
        node = metadata.dst_node_id
        self._asked[node, number] = Asked(metadata, node, number, time.monotonic() + metadata.ttl)
        self._note(metadata.message_id, Size(parcel.size))
        return parcel

    def _arrive(self, arrival: Arrival) -> None:
        """Take an answer in; in the service's thread, so reading it is left to who wants it."""
        with self._changed:
            asked = self._asked.get((arrival.node, arrival.id))
            if asked is not None:
                self._answered[asked.metadata.message_id] = arrival
                self._changed.notify_all()

    def _reply(self, arrival: Arrival) -> Message:
        asked = self._asked.pop((arrival.node, arrival.id))
        try:
            content = link_pb2.Content()
            parse(content, arrival.head)
            what = from_content(content, arrival.data)
        except ProtocolError as error:
            what = Error(UNREADABLE, f"The reply could not be read. {error}")
        reply = _message(what, asked)
        sent = asked.metadata.message_id
        size = len(arrival.head) + sum(map(len, arrival.data))
        with self._changed:
            self._note(reply.metadata.message_id, Size(size, arrival.wire_up))
            self._note(sent, Size(self._sizes[sent].content, arrival.wire_down))
        return reply

    def _fail(self, asked: Asked, code: int, reason: str) -> None:
        with self._changed:
            if self._asked.pop((asked.node, asked.number), None) is not None:
                reply = _message(Error(code, reason), asked)
                self._note(reply.metadata.message_id, Size(0))
                self._answered[asked.metadata.message_id] = reply
                self._changed.notify_all()

    def _give_up_on_the_absent(self) -> None:
        patience, now = self._service.config.absence_s, time.monotonic()
        with self._changed:
            waiting = [a for a in self._asked.values() if a.metadata.message_id not in self._answered]
        gone = {a.node for a in waiting if self._service.away_s(a.node) > patience}
        for asked in waiting:
            if asked.node in gone:
                self._fail(asked, UNAVAILABLE, f"The device has been away for more than {patience:g} s.")
        stale = {(a.node, a.number): a for a in waiting if a.node in gone or a.expires_at < now}
        if stale:
            self._forget(stale)

    def _forget(self, these: Mapping[tuple[int, int], Asked]) -> None:
        if not these:
            return
        with self._changed:
            for key, asked in these.items():
                self._asked.pop(key, None)
                if isinstance(self._answered.get(asked.metadata.message_id), Arrival):
                    del self._answered[asked.metadata.message_id]  # too late: nobody reads it
        self._service.withdraw(list(these))

    def _note(self, message_id: str, size: Size) -> None:
        self._sizes[message_id] = size


def _message(what: RecordDict | Error, asked: Asked) -> Message:
    """Return a reply as the strategy gets it; nothing in it but the content is the device's to write."""
    about = asked.metadata
    metadata = Metadata(
        run_id=about.run_id,
        message_id=f"{about.message_id}r",
        src_node_id=asked.node,
        dst_node_id=about.src_node_id,
        reply_to_message_id=about.message_id,
        group_id=about.group_id,
        created_at=time.time(),
        ttl=about.ttl,
        message_type=about.message_type,
        src_task_id=about.dst_task_id,
        dst_task_id=about.src_task_id,
    )
    return assemble(metadata, what)


def _refusal(service: LinkService, node: int) -> str:
    if not service.knows(node):
        return "No device has this node id."
    return f"{service.config.most_waiting} messages wait for this device already."
