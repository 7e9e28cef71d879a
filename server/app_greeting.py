"""The greeting: before a client is sent anything, it says who it is and what it can make itself.

A run begins when all clients of `data.clients` have answered, or `server.min_clients` of them; who comes
later, or comes back as another node, is greeted between two rounds. A client with other settings, another
model or no name of its own is told why, counted and left out; the run goes on with the others.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from phloem import ledger as rows
from phloem.errors import ProtocolError, RunError
from phloem.protocol import MESSAGE, VERSION, Greeting, Hello, client_order
from phloem.server.account import Weight
from phloem.server.sanitize import brief
from phloem.server.state import Setting

Record = Callable[[rows.Message | rows.Rejection], None]
Dismiss = Callable[[int, str], None]

LEFT_OUT = "greeting"
"""The code of a rejection that is a client, not an update."""


@dataclass
class Answers:
    """What the nodes that were asked have said."""

    nodes: dict[str, int] = field(default_factory=dict)
    """The node of each client."""
    hashes: dict[str, bytes] = field(default_factory=dict)
    """Each client's hash of the first version."""
    wrong: dict[int, str] = field(default_factory=dict)
    """What was wrong with the answers of other nodes, a sentence each."""
    silent: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Greeter:
    """Asks nodes who they are."""

    grid: Grid
    setting: Setting
    weigh: Callable[[Message], Weight]
    record: Record
    """Takes the two rows of each greeting, or the one of a client that is left out."""

    def all_clients(self) -> Answers:
        """Wait for the clients a run begins with, and ask them.

        Raises:
            RunError: too few came, or answered, or could be taken.
        """
        server = self.setting.experiment.server
        node_ids = self._wait_for_nodes()
        found = self.ask(node_ids)
        first_wrong = next(iter(found.wrong.values()), "")
        if first_wrong and not found.nodes:
            raise RunError(first_wrong)
        if (found.silent and not server.min_clients) or len(found.nodes) < server.min_clients:
            silent = ", ".join(map(str, found.silent))
            wanted = f"At least {server.min_clients}" if server.min_clients else f"All {len(node_ids)}"
            raise RunError(
                f"{wanted} clients should answer the greeting. Found {len(found.nodes)} answers within "
                f"{server.connect_timeout_s:g} s"
                + (f", none of node {silent}: see its log." if silent else ".")
                + (f" {first_wrong}" if first_wrong else "")
            )
        return found

    def newcomers(self, passed_over: set[int], known: Mapping[str, int], round_number: int) -> Answers:
        """Ask the nodes that are neither known nor in `passed_over`, which those without a good answer join.

        A client whose node is gone may come back as another node; a node that was passed over and went
        away is asked again when it comes back, for somebody may have corrected its settings.
        """
        here = set(self.grid.get_node_ids())
        passed_over &= here
        new = sorted(here - set(known.values()) - passed_over)
        if not new:
            return Answers()
        taken = {client: node for client, node in known.items() if node in here}
        found = self.ask(new, taken, round_number)
        passed_over |= set(new) - set(found.nodes.values())
        return found

    def ask(
        self, node_ids: Iterable[int], taken: Mapping[str, int] | None = None, round_number: int = 0
    ) -> Answers:
        """Ask these nodes; `taken` are the clients that are there already."""
        hello = Hello(VERSION, self.setting.shared.fingerprint)
        content = ConfigRecord(hello.to_mapping())
        sent = [Message(RecordDict({MESSAGE: content}), node, "query") for node in node_ids]
        server = self.setting.experiment.server
        # A newcomer that says nothing holds a round up no longer than a client that says nothing.
        patience = min(server.connect_timeout_s, server.round_timeout_s if round_number else math.inf)
        replies = list(self.grid.send_and_receive(sent, timeout=patience))
        asked = {message.metadata.message_id: message for message in sent}
        found, nodes = Answers(), dict(taken or {})
        for reply in replies:
            message = asked.pop(reply.metadata.reply_to_message_id, None)
            if message is None:
                continue  # answers nothing that was asked, or what has been answered
            node = message.metadata.dst_node_id
            try:
                greeting = _greeting_in(reply, node)
            except RunError as error:
                self._leave_out(found, node, str(error), round_number)
                continue
            client = greeting.client
            if client in nodes:
                text = (
                    f"Each client should be there once. Found {client!r} on nodes {nodes[client]} and "
                    f"{node}. Give each its own partition-id."
                )
                self._leave_out(found, node, text, round_number)
                continue
            nodes[client] = found.nodes[client] = node
            found.hashes[client] = greeting.first_hash
            self.record(_row(round_number, client, "down", self.weigh(message)))
            self.record(_row(round_number, client, "up", self.weigh(reply)))
        found.silent = [message.metadata.dst_node_id for message in asked.values()]
        found.nodes = {client: found.nodes[client] for client in sorted(found.nodes, key=client_order)}
        return found

    def _leave_out(self, found: Answers, node: int, why: str, round_number: int) -> None:
        found.wrong[node] = why
        self.record(rows.Rejection(round_number, f"node {node}", LEFT_OUT, why))
        dismiss: Dismiss = getattr(self.grid, "dismiss", lambda node, why: None)
        dismiss(node, f"This run goes on without this device. {why}")  # a carrier that can tell it does

    def _wait_for_nodes(self) -> list[int]:
        server, wanted = self.setting.experiment.server, len(self.setting.federation.shares)
        deadline = time.monotonic() + server.connect_timeout_s
        while True:
            found = sorted(self.grid.get_node_ids())
            late = time.monotonic() > deadline
            if len(found) == wanted or (late and 0 < server.min_clients <= len(found) <= wanted):
                return found
            if len(found) > wanted or late:
                raise RunError(
                    f"The run needs {wanted} nodes, one for each client of `data.clients`. Found {len(found)}"
                    f" (waited up to {server.connect_timeout_s:g} s). Start the missing ones, or set "
                    f"data.clients={len(found)}; in Flower's simulation: --federation-config "
                    f"'num-supernodes={wanted}'."
                )
            time.sleep(0.2)


def _greeting_in(reply: Message, node: int) -> Greeting:
    """Return a Greeting with a name that can stand in a ledger; the reply may hold anything."""
    if reply.has_error():
        raise RunError(f"Node {node} refused the run: {brief(reply.error.reason)}")
    try:
        fields = reply.content.config_records.get(MESSAGE) if reply.has_content() else None
        greeting = Greeting.from_mapping(dict(fields or {}))
    except ProtocolError as error:
        raise RunError(f"Node {node} should have answered with a Greeting. Found: {brief(error)}") from None
    if not re.fullmatch(r"[\w.-]{1,64}", greeting.client):
        raise RunError(
            f"A client's name should be 1..64 letters, digits or '_.-'. Found {brief(repr(greeting.client))} "
            f"on node {node}. Give it another name."
        )
    return greeting


def _row(round_number: int, client: str, direction: rows.Direction, weight: Weight) -> rows.Message:
    objects, wire = weight.object_bytes, weight.wire_bytes
    return rows.Message(round_number, client, direction, "hello", "", 0, 0, 0, objects, wire, 0, None, None)
