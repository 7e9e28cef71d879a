"""A round over a carrier that takes its time: who died is asked again, who is late is not waited for.

Flower's engine hands an instruction out once. Where a node or its app dies with it, a round learns so from
an error, after a minute at most, or never: a node that is back before it was missed looks as if it still
worked. So an error that means death is kept, and the instruction goes out again as soon as the node is
there; and it does where a node was activated anew since it was asked. A client answers the same instruction
with the same bytes, so a second asking changes nothing but that an answer comes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from flwr.app import Message
from flwr.serverapp import Grid
from flwr.supercore.run import Run

DEATHS = frozenset({3, 4, 5, 8})
"""Flower's codes of errors behind which no app spoke: message, reply or node unavailable, app crashed."""
MOST_ASKINGS = 4
"""How often a message goes out in a round: an app that dies of what it is asked is not started for ever."""
POLL_S = 1.0
NEAR_POLL_S = 0.02
"""How often to look for replies where that is a call in this process."""


@dataclass
class Asked:
    """A message on its way: the strategy's, and the one that was last sent in its place."""

    message: Message
    sent_id: str = ""
    """Of the message that an answer is awaited to; empty while there is none, or Flower took none."""
    activated: str | None = None
    """When its node was activated, as far as the carrier tells, before that message was sent."""
    death: Message | None = None
    times: int = 0
    """How often it was sent."""

    @property
    def node(self) -> int:
        """To whom."""
        return self.message.metadata.dst_node_id


@dataclass
class RoundGrid(Grid):
    """Another grid, with patience for the dead and none for the late."""

    grid: Grid
    absence_s: float
    """How long to wait for a node from when it was found dead; 0 passes every error on."""
    needed: Callable[[], int]
    """Tells how many usable replies are enough."""
    usable: Callable[[Message], bool]
    poll_s: float = 0.0
    _died: dict[int, float] = field(default_factory=dict, init=False)
    """When each node was found dead that has not answered since."""

    def set_run(self, run: Run) -> None:
        """Pass on."""
        self.grid.set_run(run)

    @property
    def run(self) -> Run:
        """The wrapped grid's run."""
        return self.grid.run

    def create_message(
        self,
        content: object,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Pass on."""
        return self.grid.create_message(content, message_type, dst_node_id, group_id, ttl)  # type: ignore[arg-type]

    def get_node_ids(self) -> Iterable[int]:
        """Return the wrapped grid's nodes."""
        return self.grid.get_node_ids()

    def reborn_nodes(self) -> list[int]:
        """Return the nodes that lost what they kept, where the wrapped grid can tell."""
        found: Callable[[], list[int]] = getattr(self.grid, "reborn_nodes", list)
        return found()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Pass on."""
        return self.grid.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Pass on."""
        return self.grid.pull_messages(message_ids)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Send, and return the replies, in order of arrival, once they are enough or the time is over."""
        waiting = [Asked(message) for message in messages]
        if not waiting:
            return []
        deadline = time.monotonic() + (float("inf") if timeout is None else timeout)
        enough, asked = self.needed(), len(waiting)
        self._send(waiting, self._activations())
        replies, good = list[Message](), 0
        while True:
            for reply in self._collect(waiting):
                replies.append(reply)
                good += enough < asked and self.usable(reply)  # which decodes it; else all are waited for
            left = deadline - time.monotonic()
            if not waiting or good >= enough or left <= 0:
                break
            self._ask_again(waiting)
            time.sleep(min(left, self.poll_s or (POLL_S if tells_nodes(self.grid) else NEAR_POLL_S)))
        withdraw: Callable[[Iterable[str]], None] = getattr(self.grid, "withdraw", lambda ids: None)
        withdraw([asked.sent_id for asked in waiting if asked.sent_id])
        return replies + [asked.death for asked in waiting if asked.death is not None]

    def _send(self, these: list[Asked], activations: dict[int, str]) -> None:
        """Send messages: the strategy's own the first time, from then on a copy, which Flower tells apart."""
        out = [
            _copy(asked.message) if asked.message.metadata.message_id else asked.message for asked in these
        ]
        for asked, sent_id in zip(these, self.grid.push_messages(out), strict=True):
            asked.sent_id, asked.activated = sent_id or "", activations.get(asked.node)
            asked.times += bool(sent_id)

    def _collect(self, waiting: list[Asked]) -> Iterable[Message]:
        """Yield the replies that have come; deaths are kept where the node may be back in time."""
        by_id = {asked.sent_id: asked for asked in waiting if asked.sent_id}
        for reply in list(self.grid.pull_messages(list(by_id))) if by_id else []:
            asked = by_id.pop(reply.metadata.reply_to_message_id, None)
            if asked is None:
                continue
            reply.metadata.__dict__["_reply_to_message_id"] = asked.message.metadata.message_id
            asked.sent_id = ""
            if self._is_death(reply) and asked.times < MOST_ASKINGS and self._patient(asked.node):
                asked.death = reply
                continue
            if not self._is_death(reply):
                self._died.pop(asked.node, None)
            waiting.remove(asked)
            yield reply
        for asked in [a for a in waiting if not a.sent_id and not self._patient(a.node)]:
            waiting.remove(asked)
            if asked.death is not None:
                yield asked.death

    def _ask_again(self, waiting: list[Asked]) -> None:
        """Send those messages again whose nodes are back."""
        if not tells_nodes(self.grid) or not self.absence_s:
            return
        activations = self._activations()
        back = [
            asked
            for asked in waiting
            if asked.times < MOST_ASKINGS
            and asked.node in activations
            and (not asked.sent_id or activations[asked.node] != asked.activated)
        ]
        if back:
            self._send(back, activations)

    def _activations(self) -> dict[int, str]:
        """Return when each node that is there was activated; nothing, where the carrier does not tell."""
        if not tells_nodes(self.grid) or not self.absence_s:
            return {}
        return {info.node_id: info.last_activated_at for info in self.grid.get_nodes()}

    def _is_death(self, reply: Message) -> bool:
        return tells_nodes(self.grid) and reply.has_error() and reply.error.code in DEATHS

    def _patient(self, node: int) -> bool:
        """Tell whether to wait for a dead node, which is known to be so from now on."""
        now = time.monotonic()
        return now - self._died.setdefault(node, now) < self.absence_s


def tells_nodes(grid: Grid) -> bool:
    """Tell whether a carrier knows when its nodes were activated: Flower's engine, which asks only once."""
    return type(grid).get_nodes is not Grid.get_nodes


def _copy(message: Message) -> Message:
    about = message.metadata
    return Message(
        message.content, about.dst_node_id, about.message_type, ttl=about.ttl, group_id=about.group_id
    )
