"""A device's node: runs the tasks of a stream through a Flower ClientApp, exactly once each.

task ─> answered before? ─ yes ─> the same bytes
            └─ no ─> app(message, context) ─> journal: state and answer ─> the bytes
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flwr.app import ConfigRecord, Context, Error, Message, Metadata, RecordDict

from phloem.client.journal import Journal
from phloem.errors import PhloemError, ProtocolError, RunError
from phloem.link.records import assemble, from_content, to_content
from phloem.link.stream import parse
from phloem.proto import link_pb2

App = Callable[[Message, Context], Message]
"""A Flower ClientApp, which is called so."""

SERVER_NODE, RUN = 1, 1
APP_RAISED, NOT_KEPT = 2, 1010
"""Error codes: Flower's own for an app that raised, and one for a device that could not write its journal."""

_log = logging.getLogger("phloem.device")


@dataclass(frozen=True)
class Setup:
    """What the server told about the run and this node."""

    run: int
    node: int
    settings: bytes


class Node:
    """One device's app, its Context and its journal."""

    def __init__(self, app: App, journal: Journal, node_config: Mapping[str, Any] | None = None) -> None:
        """`node_config` adds to what the server says of the node, and wins."""
        self._app, self._journal, self._own = app, journal, dict(node_config or {})
        self.answered = 0
        """How many answers went out since this process began."""
        self._setup: Setup | None = None
        self._context: Context | None = None

    @property
    def journal(self) -> Journal:
        """Where the device keeps what it must not lose."""
        return self._journal

    @property
    def context(self) -> Context:
        """The app's Context in the run that was begun."""
        return self._current()

    def begin(self, setup: Setup) -> None:
        """Take part in a run, with the state kept for it, if any.

        Raises:
            ProtocolError: the settings or the state are not what they should be.
        """
        if setup != self._setup:
            self._setup, self._context = setup, _context(setup, self._journal.state(setup.run), self._own)

    def answer(self, number: int, head: bytes, data: tuple[bytes, ...]) -> tuple[bytes, tuple[bytes, ...]]:
        """Return the answer to a task: its head and what is beside it.

        The answer to a task done before is read from the journal. What an app raises becomes an error
        reply, and its Context is as before.
        """
        assert self._setup is not None
        kept = self.kept(number)
        if kept is not None:
            return kept
        reply = self._run(number, head, data)
        try:
            return self._keep(number, reply)
        except (ProtocolError, RunError) as error:
            self._context = None  # whatever the app changed did not last
            content, _ = to_content(Error(NOT_KEPT, str(error)))
            return content.SerializeToString(), ()

    def kept(self, number: int) -> tuple[bytes, tuple[bytes, ...]] | None:
        """Return the answer to a task that was done before, if it is still kept."""
        assert self._setup is not None
        raw = self._journal.answer(self._setup.run, number)
        if raw is None:
            return None
        answer = link_pb2.Answer()
        parse(answer, raw)
        return answer.head, tuple(answer.data)

    @staticmethod
    def too_large(found: int, most: int) -> bytes:
        """Return the head of the answer in place of one that the server would refuse."""
        text = (
            f"A reply should have at most {most} bytes (`link.most_bytes`). Found {found}: choose a codec "
            "that sends less."
        )
        return to_content(Error(NOT_KEPT, text))[0].SerializeToString()

    def _run(self, number: int, head: bytes, data: tuple[bytes, ...]) -> RecordDict | Error:
        try:
            message = _message(number, head, data, self._setup)
            reply = self._app(message, self._current())
        except Exception as error:  # as on Flower's engine: an app that breaks is a reply, not the end
            self._context = None
            reason = str(error) if isinstance(error, PhloemError) else f"{type(error).__name__}: {error}"
            _log.warning("A task failed on this device. %s", reason)  # who looks here sees it here as well
            return Error(APP_RAISED, reason)
        if reply.has_error():
            _log.warning("This device's app refused a task. %s", reply.error.reason)
            return reply.error
        return reply.content

    def _current(self) -> Context:
        assert self._setup is not None
        if self._context is None:
            self._context = _context(self._setup, self._journal.state(self._setup.run), self._own)
        return self._context

    def _keep(self, number: int, reply: RecordDict | Error) -> tuple[bytes, tuple[bytes, ...]]:
        assert self._setup is not None
        content, data = to_content(reply)
        answer = link_pb2.Answer(id=number, head=content.SerializeToString(), data=data)
        state = {name: pack(name, record) for name, record in self._current().state.items()}
        self._journal.commit(self._setup.run, number, state, answer.SerializeToString())
        return answer.head, tuple(data)


def _context(setup: Setup, state: Mapping[str, bytes], own: Mapping[str, Any]) -> Context:
    content = link_pb2.Content()
    parse(content, setup.settings)
    settings = from_content(content, [])
    if isinstance(settings, Error) or not {"run", "node"} <= set(settings.config_records):
        raise ProtocolError("A Welcome should bring the settings of run and node. Found none.")
    return Context(
        run_id=RUN,
        node_id=setup.node,
        node_config={**_plain(settings.config_records["node"]), **own},
        state=read_records(state),
        run_config=_plain(settings.config_records["run"]),
    )


def read_records(state: Mapping[str, bytes]) -> RecordDict:
    """Return a Context's records as a journal keeps them.

    Raises:
        ProtocolError: they are not what a node wrote.
    """
    records = RecordDict()
    for raw in state.values():
        records.update(unpack(raw))
    return records


def _plain(record: ConfigRecord) -> dict[str, Any]:
    return dict(record.items())


def pack(name: str, record: Any) -> bytes:
    """Return a record of a Context as bytes, for a journal."""
    content, data = to_content(RecordDict({name: record}))
    return link_pb2.Answer(head=content.SerializeToString(), data=data).SerializeToString()


def unpack(raw: bytes) -> RecordDict:
    """Return the one record, by its name, that `pack` made bytes of."""
    kept, content = link_pb2.Answer(), link_pb2.Content()
    parse(kept, raw)
    parse(content, kept.head)
    found = from_content(content, list(kept.data))
    assert isinstance(found, RecordDict)
    return found


def _message(number: int, head: bytes, data: tuple[bytes, ...], setup: Setup | None) -> Message:
    assert setup is not None
    task = link_pb2.TaskHead()
    parse(task, head)
    metadata = Metadata(
        run_id=RUN,
        message_id=f"{number:016x}",
        src_node_id=SERVER_NODE,
        dst_node_id=setup.node,
        reply_to_message_id="",
        group_id=task.group,
        created_at=min(task.created_at, time.time()),  # a clock that is a little late would see it expire
        ttl=task.ttl,
        message_type=task.type,
    )
    return assemble(metadata, from_content(task.content, data))
