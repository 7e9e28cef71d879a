"""The Flower Strategy: turns a round's state into messages and replies into a state. No arithmetic.

It counts every message it makes and every reply it gets, and writes the round to the ledger.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from phloem import ledger as rows
from phloem.compression.frame import pack_chain, peek
from phloem.compression.stage import StageBytes
from phloem.config import DownlinkConfig
from phloem.ledger import Ledger
from phloem.protocol import FULL, MESSAGE, Instruction
from phloem.records import get_blob, put_blob, to_record
from phloem.server.round import Arrived, Outcome, ServerState, Setting, aggregate, choose
from phloem.server.versions import Step


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
    held: int
    payload_bytes: int
    chain: tuple[Step, ...]


class DeltaAverage(Strategy):
    """Federated averaging (McMahan et al. 2017) of compressed weight deltas, with compressed steps back."""

    def __init__(
        self,
        setting: Setting,
        state: ServerState,
        nodes: Mapping[str, int],
        ledger: Ledger,
        object_bytes: Callable[[Message], int],
        *,
        save: Callable[[ServerState, int], None],
        on_round: Callable[[RoundReport], None],
    ) -> None:
        """`nodes` maps clients to Flower's node ids, `object_bytes` measures a message as carried."""
        self.setting, self.state, self.nodes, self.ledger = setting, state, nodes, ledger
        self._object_bytes, self._save, self._on_round = object_bytes, save, on_round
        self._sent: list[Sent] = []
        self._started = 0.0

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Make the instruction and the cheapest chain for each chosen client."""
        self._started = time.perf_counter()
        self._sent = [
            self._send(client, server_round) for client in choose(self.setting, self.state, server_round)
        ]
        return [sent.message for sent in self._sent]

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Apply the replies, record the round, and make it last before the next one acknowledges it."""
        before = self.state
        outcome = aggregate(self.setting, before, server_round, self._arrived(server_round, replies))
        self.state = outcome.state
        self._record_down(server_round, outcome)
        self._record_round(server_round, outcome)
        accuracy = self._evaluate(server_round)
        self.ledger.commit()
        self._save(self.state, server_round)
        self._on_round(RoundReport(server_round, len(outcome.accepted), len(outcome.refused), accuracy))
        self._sent = []
        return to_record(self.state.model), MetricRecord({"accepted": len(outcome.accepted)})

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
        self._save(self.state, 0)

    def save_again(self) -> None:
        """Save the model of the ledger's last round, where the run broke off between the two."""
        [(last,)] = self.ledger.query("SELECT coalesce(max(round), 0) FROM round")
        if self.state.versions.version == last:
            self._save(self.state, last)

    def _send(self, client: str, server_round: int) -> Sent:
        versions, held = self.state.versions, self.state.held[client]
        chain = versions.path(held)
        blob = pack_chain([step.blob for step in chain])
        instruction = Instruction(
            round=server_round,
            version=versions.version,
            model_hash=versions.hash,
            acked_seq=self.state.acked[client],
            codec=self.setting.experiment.uplink.codec,
            seed=self.setting.experiment.run.seed,
        )
        content = RecordDict({MESSAGE: ConfigRecord(instruction.to_mapping())})
        put_blob(content, blob)
        return Sent(client, Message(content, self.nodes[client], "train"), held, len(blob), chain)

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
            arrived = read_message(client, reply)
            self._record_up(server_round, reply, arrived)
            yield arrived
        for name in sorted(unasked):
            self.ledger.record(rows.Rejection(server_round, name, "unasked", "A reply nobody asked for."))
        for client in sorted(silent):
            yield Arrived(client, {}, b"", "No reply within the round's time.")

    def _record_up(self, server_round: int, reply: Message, arrived: Arrived) -> None:
        held = self.state.versions.version
        seq = arrived.fields.get("seq")
        self.ledger.record(
            rows.Message(
                round=server_round,
                client=arrived.client,
                direction="up",
                kind="train",
                codec=self.setting.experiment.uplink.codec,
                base=held,
                seq=seq if type(seq) is int else 0,
                payload_bytes=len(arrived.blob),
                object_bytes=self._object_bytes(reply),
                wire_bytes=None,
                dense_bytes=self.state.versions.schema.dense_bytes if arrived.blob else 0,
                encode_seconds=_seconds(arrived.fields.get("encode_seconds")),
                decode_seconds=None,
            )
        )

    def _record_down(self, server_round: int, outcome: Outcome) -> None:
        experiment = self.setting.experiment
        decoded = {a.sane.reply.client: _seconds(a.sane.reply.decode_seconds) for a in outcome.accepted}
        for sent in self._sent:
            self.ledger.record(
                rows.Message(
                    round=server_round,
                    client=sent.client,
                    direction="down",
                    kind="train",
                    codec=_codec_text(sent.chain, experiment.downlink),
                    base=sent.held,
                    seq=sent.chain[-1].version if sent.chain else sent.held,
                    payload_bytes=sent.payload_bytes,
                    object_bytes=self._object_bytes(sent.message),
                    wire_bytes=None,
                    dense_bytes=self.state.versions.schema.dense_bytes,
                    encode_seconds=None,
                    decode_seconds=decoded.get(sent.client),
                )
            )
            if len(sent.chain) == 1:
                self.ledger.record(*_stages(server_round, sent.client, "down", sent.chain[0].stages))
        for accepted in outcome.accepted:
            self.ledger.record(*_stages(server_round, accepted.sane.reply.client, "up", accepted.sane.stages))

    def _record_round(self, server_round: int, outcome: Outcome) -> None:
        replies = [accepted.sane.reply for accepted in outcome.accepted]
        samples = sum(reply.samples for reply in replies)
        self.ledger.record(
            *(rows.Rejection(server_round, r.client, r.code, r.reason) for r in outcome.refused),
            rows.Round(
                round=server_round,
                version=outcome.state.versions.version,
                selected=len(self._sent),
                accepted=len(replies),
                rejected=len(outcome.refused),
                seconds=time.perf_counter() - self._started,
                loss=_finite(sum(r.loss * r.samples for r in replies) / samples) if samples else None,
                prequential_accuracy=sum(r.correct for r in replies) / samples if samples else None,
            ),
        )
        if (distilled := outcome.distilled) is not None:
            before, after = distilled.before, distilled.after
            self.ledger.record(
                rows.Distillation(
                    server_round, distilled.kept, before.loss, after.loss, before.accuracy, after.accuracy
                )
            )

    def _evaluate(self, server_round: int) -> float | None:
        run, federation = self.setting.experiment, self.setting.federation
        due = server_round % run.server.evaluate_every == 0 or server_round == run.run.rounds
        if not due or len(federation.test) == 0:
            return None
        scores = self.setting.learner.score(self.state.model, federation.test)
        self.ledger.record(
            rows.Evaluation(server_round, "test", scores.samples, scores.loss, scores.accuracy)
        )
        return scores.accuracy


def read_message(client: str, reply: Message) -> Arrived:
    """Take a reply apart; what is missing or of another kind is left for the checks to find."""
    if reply.has_error():
        return Arrived(client, {}, b"", f"[{reply.error.code}] {reply.error.reason}")
    if not reply.has_content():
        return Arrived(client, {}, b"")
    fields = dict(reply.content.config_records.get(MESSAGE) or {})
    return Arrived(client, fields, get_blob(reply.content) or b"")


def _stages(
    server_round: int, client: str, direction: rows.Direction, stages: Iterable[StageBytes]
) -> list[rows.Stage]:
    return [
        rows.Stage(server_round, client, direction, position, stage.stage, stage.bytes)
        for position, stage in enumerate(stages)
    ]


def _codec_text(chain: tuple[Step, ...], downlink: DownlinkConfig) -> str:
    """Return the codec of a chain's first frame: an anchor's, a full model's or a step's."""
    if chain and chain[0].version == 0:
        return downlink.anchor
    header = peek(chain[0].blob) if chain else None
    return str(FULL) if header is not None and header.base == header.seq else downlink.codec


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _seconds(value: object) -> float | None:
    return value if isinstance(value, float) and 0 <= value < float("inf") else None
