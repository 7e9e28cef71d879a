"""The Flower Strategy: turns a round's state into messages and replies into a state. No arithmetic.

It counts every message it makes and every reply it gets, and writes the round to the ledger.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from phloem import ledger as rows
from phloem.errors import ProtocolError, RunError
from phloem.ledger import Ledger
from phloem.protocol import MESSAGE, Instruction, error_code
from phloem.records import get_blob, put_blob, to_record
from phloem.server.account import Delivered, Weight, down_rows, round_rows, up_row
from phloem.server.allocate import codec_for
from phloem.server.app_greeting import Answers
from phloem.server.hear import is_usable
from phloem.server.held import Path
from phloem.server.late import needed
from phloem.server.round import admit, aggregate, choose, instruct, start_over
from phloem.server.state import Arrived, Outcome, ServerState, Setting
from phloem.server.streams import concept_rows, stream_rows
from phloem.stream_rows import Reaction

BARREN_ROUNDS = 3
"""After so many rounds in a row without one usable reply a run ends."""


@dataclass(frozen=True)
class RoundReport:
    """What a finished round looks like from outside."""

    round: int
    accepted: int
    refused: int
    accuracy: float | None
    """On the test set, if this round was evaluated."""


@dataclass(frozen=True)
class Sent:
    """A message on its way, and what is needed to account for it and to recognise its reply."""

    client: str
    message: Message
    path: Path


class DeltaAverage(Strategy):
    """Federated averaging (McMahan et al. 2017) of compressed weight deltas, with compressed steps back."""

    def __init__(
        self,
        setting: Setting,
        state: ServerState,
        nodes: Mapping[str, int],
        ledger: Ledger,
        weigh: Callable[[Message], Weight],
        *,
        save: Callable[[ServerState, int], None],
        on_round: Callable[[RoundReport], None],
        reach: Callable[[str, int], None],
        join: Callable[[Mapping[str, int], int], Answers],
        done: int = 0,
    ) -> None:
        """`nodes` maps clients to Flower's node ids, `weigh` measures a message as carried.

        `join` greets, before a round, whoever has come since, given the nodes that are known.
        `done` rounds are behind a run that goes on: Flower's first round is the one after them.
        """
        self.setting, self.state, self.nodes, self.ledger = setting, state, nodes, ledger
        self.done = self._before = done
        self._weigh, self._save, self._on_round, self._reach = weigh, save, on_round, reach
        self._join = join
        self._sent: list[Sent] = []
        self._started = 0.0

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Make the instruction and the cheapest path for each chosen client."""
        server_round += self._before
        self._started = time.perf_counter()
        came = self._join(self.nodes, server_round)
        self.nodes, self.state = {**self.nodes, **came.nodes}, admit(self.state, came.hashes)
        # A carrier that can tell who lost all they kept spares them a wasted round.
        lost = set(getattr(grid, "reborn_nodes", list)())
        self.state = start_over(self.state, [c for c, node in self.nodes.items() if node in lost])
        clients = choose(self.setting, self.state, server_round, self.nodes)
        self.state, paths = instruct(self.setting, self.state, server_round, clients)
        self._sent = [self._send(client, path, server_round) for client, path in paths.items()]
        self._reach("instructed", server_round)
        return [sent.message for sent in self._sent]

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Apply the replies, record the round, and make it last before the next one acknowledges it."""
        server_round += self._before
        outcome = aggregate(self.setting, self.state, server_round, self._arrived(server_round, replies))
        self.state, self.done = outcome.state, server_round
        self._reach("aggregated", server_round)
        self._record(server_round, outcome)
        accuracy = self._evaluate(server_round)
        self._reach("recorded", server_round)
        self.ledger.commit()
        self._reach("committed", server_round)
        self._save(self.state, server_round)
        self._reach("saved", server_round)
        self._on_round(RoundReport(server_round, len(outcome.accepted), len(outcome.refused), accuracy))
        self._check_progress(outcome)
        self._sent = []
        return to_record(self.state.deployed), MetricRecord({"accepted": len(outcome.accepted)})

    def _check_progress(self, outcome: Outcome) -> None:
        """End a run that gets nowhere: training that diverges would otherwise fail to the last round."""
        limit = min(BARREN_ROUNDS, self.setting.experiment.run.rounds)
        last_rounds = self.ledger.query(
            "SELECT selected <= (SELECT count(*) FROM rejection WHERE rejection.round = round.round"
            " AND code NOT IN ('quorum', 'unasked', 'greeting'))"
            " FROM round WHERE round > 0 ORDER BY round DESC LIMIT ?",
            limit,
        )
        if outcome.refused and len(last_rounds) == limit and all(barren for (barren,) in last_rounds):
            last = outcome.refused[-1]
            raise RunError(
                f"Some reply of {limit} rounds in a row should be usable. Found none; the last was of "
                f"client {last.client!r}: {last.reason}"
            )

    def is_usable(self, reply: Message) -> bool:
        """Tell whether a reply to the round at hand passes every check."""
        asked = {sent.message.metadata.message_id: sent.client for sent in self._sent}
        client = asked.get(reply.metadata.reply_to_message_id)
        if client is None:
            return False
        return is_usable(self.setting, self.state, self.done + 1, read_message(client, reply))

    def needed(self) -> int:
        """Return how many usable replies the round at hand needs."""
        return needed(self.setting.experiment.server, len(self._sent))

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Ask nobody: clients score every sample before they learn from it, and the server has a test set."""
        return []

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Return nothing, as nobody was asked."""
        return None

    def summary(self) -> None:
        """Say nothing: the run's table does."""

    def evaluate_first(self) -> None:
        """Score the untrained model, as round 0."""
        self._evaluate(0)
        self.ledger.commit()
        self._reach("committed", 0)
        self._save(self.state, 0)
        self._reach("saved", 0)

    def _send(self, client: str, path: Path, server_round: int) -> Sent:
        instruction = Instruction(
            round=server_round,
            version=path.model.version,
            model_hash=path.model.hash,
            acked_seq=self.state.acked[client],
            codec=codec_for(self.setting.experiment.uplink, self.state.levels, client),
            seed=self.setting.experiment.run.seed,
            mask=self.state.held.mask(client),
        )
        content = RecordDict({MESSAGE: ConfigRecord(instruction.to_mapping())})
        put_blob(content, path.blob)
        return Sent(client, Message(content, self.nodes[client], "train"), path)

    def _arrived(self, server_round: int, replies: Iterable[Message]) -> Iterator[Arrived]:
        # Not by the sender's node id: a reply's metadata are its sender's to write, and only the client that
        # was sent a message knows the message's id.
        asked = {sent.message.metadata.message_id: sent.client for sent in self._sent}
        silent = {sent.client for sent in self._sent}
        unasked: set[str] = set()
        for reply in replies:
            client = asked.get(reply.metadata.reply_to_message_id)
            if client is None or client not in silent:  # from an earlier round, or answered already
                unasked.add(client or f"node {reply.metadata.src_node_id}")
                continue
            silent.discard(client)
            self._reach("replied", server_round)
            arrived = read_message(client, reply)
            weight = self._weigh(reply)
            self.ledger.record(up_row(server_round, arrived, self.state, self.setting, weight))
            yield arrived
        for name in sorted(unasked):
            self.ledger.record(rows.Rejection(server_round, name, "unasked", "A reply nobody asked for."))
        for client in sorted(silent):
            yield Arrived(client, {}, b"", silent=True)

    def _record(self, server_round: int, outcome: Outcome) -> None:
        delivered = [Delivered(sent.client, sent.path, self._weigh(sent.message)) for sent in self._sent]
        seconds = time.perf_counter() - self._started
        self.ledger.record(
            *down_rows(server_round, delivered, outcome, self.setting),
            *round_rows(server_round, outcome, len(delivered), seconds),
            *stream_rows(self.ledger, server_round, outcome.heard, self.setting.federation),
            *(Reaction(server_round, did.client, did.deed, did.model) for did in outcome.did),
        )

    def _evaluate(self, server_round: int) -> float | None:
        run, federation = self.setting.experiment, self.setting.federation
        due = server_round % run.server.evaluate_every == 0 or server_round == run.run.rounds
        if not due or len(federation.test) == 0:
            return None
        scores = self.setting.learner.score(self.state.deployed, federation.test)
        self.ledger.record(
            rows.Evaluation(server_round, "test", scores.samples, scores.loss, scores.accuracy)
        )
        networks = (self.state.deployed,) if self.state.network else self.state.models
        for number, model in enumerate(networks):
            self.ledger.record(*concept_rows(server_round, self.setting.learner, model, federation, number))
        return scores.accuracy


def read_message(client: str, reply: Message) -> Arrived:
    """Take a reply apart; what is missing or of another kind is left for the checks to find."""
    if reply.has_error():
        astray = reply.error.code == error_code(ProtocolError())
        return Arrived(client, {}, b"", f"[{reply.error.code}] {reply.error.reason}", astray=astray)
    if not reply.has_content():
        return Arrived(client, {}, b"")
    fields = dict(reply.content.config_records.get(MESSAGE) or {})
    return Arrived(client, fields, get_blob(reply.content) or b"")
