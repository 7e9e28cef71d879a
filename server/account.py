"""What a round was, as rows of the ledger."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from phloem.compression.frame import peek
from phloem.compression.stage import StageBytes
from phloem.config import DownlinkConfig
from phloem.ledger import Direction, Distillation, Message, Rejection, Round, Row, Stage
from phloem.server.allocate import codec_for
from phloem.server.held import Path, Step
from phloem.server.state import Arrived, Outcome, ServerState, Setting
from phloem.server.streams import LARGEST


@dataclass(frozen=True, slots=True)
class Weight:
    """What a message weighed: everything its carrier was handed, and what a network carried, if one did."""

    object_bytes: int
    wire_bytes: int | None = None


def up_row(
    server_round: int, arrived: Arrived, state: ServerState, setting: Setting, weight: Weight
) -> Message:
    """Return the row of a reply, whatever it is worth; `state` is the server's before the round."""
    seq = arrived.fields.get("seq")
    return Message(
        round=server_round,
        client=arrived.client,
        direction="up",
        kind="train",
        codec=codec_for(setting.experiment.uplink, state.levels, arrived.client),
        base=state.held.position(arrived.client).version,
        seq=seq if type(seq) is int and 0 <= seq <= LARGEST else 0,
        payload_bytes=len(arrived.blob),
        object_bytes=weight.object_bytes,
        wire_bytes=weight.wire_bytes,
        dense_bytes=setting.schema(state.held, arrived.client).dense_bytes if arrived.blob else 0,
        encode_seconds=_seconds(arrived.fields.get("encode_seconds")),
        decode_seconds=None,
    )


@dataclass(frozen=True, slots=True)
class Delivered:
    """An instruction that went to a client, and its size on the way."""

    client: str
    path: Path
    weight: Weight


def down_rows(
    server_round: int, delivered: Iterable[Delivered], outcome: Outcome, setting: Setting
) -> list[Row]:
    """Return the rows of the instructions of a round; a single frame is shown by stage as well."""
    replies = {accepted.sane.reply.client: accepted.sane.reply for accepted in outcome.accepted}
    found: list[Row] = []
    for sent in delivered:
        reply = replies.get(sent.client)
        found.append(
            Message(
                round=server_round,
                client=sent.client,
                direction="down",
                kind="train",
                codec=_codec_text(sent.path.chain, setting.experiment.downlink),
                base=sent.path.base,
                seq=sent.path.model.version,
                payload_bytes=len(sent.path.blob),
                object_bytes=sent.weight.object_bytes,
                wire_bytes=sent.weight.wire_bytes,
                dense_bytes=setting.schema(outcome.state.held, sent.client).dense_bytes,
                encode_seconds=None,
                decode_seconds=None if reply is None else _seconds(reply.decode_seconds),
            )
        )
        if len(sent.path.chain) == 1:
            found += _stages(server_round, sent.client, "down", sent.path.chain[0].stages)
    return found


def round_rows(server_round: int, outcome: Outcome, selected: int, seconds: float) -> list[Row]:
    """Return the rows of a round as a whole: what was refused, what it came to, and its updates by stage."""
    replies = [accepted.sane.reply for accepted in outcome.accepted]
    samples = sum(reply.samples for reply in replies)
    found: list[Row] = [Rejection(server_round, r.client, r.code, r.reason) for r in outcome.refused]
    found.append(
        Round(
            round=server_round,
            version=outcome.state.held.next_version - 1,
            selected=selected,
            accepted=len(replies),
            rejected=len(outcome.refused),
            seconds=seconds,
            loss=_finite(sum(r.loss * r.samples for r in replies) / samples) if samples else None,
            prequential_accuracy=sum(r.correct for r in replies) / samples if samples else None,
        )
    )
    if (distilled := outcome.distilled) is not None:
        before, after = distilled.before, distilled.after
        found.append(
            Distillation(
                server_round, distilled.kept, before.loss, after.loss, before.accuracy, after.accuracy
            )
        )
    for accepted in outcome.accepted:
        found += _stages(server_round, accepted.sane.reply.client, "up", accepted.sane.stages)
    return found


def _stages(server_round: int, client: str, direction: Direction, stages: Iterable[StageBytes]) -> list[Row]:
    return [
        Stage(server_round, client, direction, position, stage.stage, stage.bytes)
        for position, stage in enumerate(stages)
    ]


def _codec_text(chain: tuple[Step, ...], downlink: DownlinkConfig) -> str:
    """Return the codec of a chain's first frame, which is the anchor's where the model came in full."""
    header = peek(chain[0].blob) if chain else None
    return downlink.anchor if header is not None and header.base == header.seq else downlink.codec


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _seconds(value: object) -> float | None:
    return value if isinstance(value, float) and 0 <= value < math.inf else None
