"""What a client keeps: it survives the Context bit for bit, and settles with the server."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from flwr.app import ConfigRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from phloem.client.plain import RESIDUAL, SENT
from phloem.client.records import read_state, write_state
from phloem.client.state import ClientState, Pending, settle
from phloem.compression.codec import CodecState, codec
from phloem.compression.update import Schema, Update, add
from phloem.errors import ProtocolError
from phloem.protocol import MESSAGE, NO_VERSION, Instruction, Reply

CODEC = "ef | topk:0.25 | linear:4"


def update(seed: int) -> Update:
    rng = np.random.default_rng(seed)
    return {
        "w": rng.normal(size=(4, 3)).astype(np.float32),
        "b": rng.normal(size=3).astype(np.float32),
        "s": np.array(rng.normal(), np.float32),
    }


SCHEMA = Schema.of(update(0))
BLOB, AFTER = codec(CODEC).encode(update(1), CodecState(update(2), {"w/lowrank": update(3)["w"]}), seq=5)
REPLY = Reply("2", 3, 5, 7, 32, 1.5, 20, b"\x01\x00\x00\x00", 0.1, 0.2, 0.3)
FULL = ClientState(
    held=7,
    model=update(4),
    position=96,
    seq=5,
    codec=replace(AFTER, warm={"w": update(3)["w"]}),
    pending=Pending(CODEC, 5, BLOB, REPLY),
)


def same(left: ClientState, right: ClientState) -> bool:
    """Equal, arrays to the last bit."""

    def bits(state: ClientState) -> list[object]:
        arrays = [state.model, state.codec.residual, state.codec.warm]
        return [
            [(name, a.dtype, a.shape, a.tobytes()) for name, a in (group or {}).items()] for group in arrays
        ]

    plain = [(s.held, s.position, s.seq, s.pending) for s in (left, right)]
    return plain[0] == plain[1] and bits(left) == bits(right)


def through_the_wire(records: RecordDict) -> RecordDict:
    """As a SuperNode passes the Context to the next process: as bytes."""
    return RecordDict(
        {name: type(record).inflate(record.deflate(), record.children) for name, record in records.items()}
    )


@pytest.mark.parametrize(
    "state",
    [
        ClientState(),
        FULL,
        replace(FULL, pending=None),
        replace(FULL, pending=Pending("fp16", 6, b"", None)),
        replace(FULL, codec=CodecState()),
        replace(FULL, model=None, held=NO_VERSION),
    ],
    ids=["new", "all", "settled", "no reply", "no residual", "no model"],
)
def test_a_state_survives_the_context(state: ClientState) -> None:
    """Protects every client between two rounds: nothing is lost, rounded or renamed on the way."""
    records = RecordDict()
    write_state(records, state)
    assert same(read_state(through_the_wire(records)), state)


def test_an_empty_context_is_a_client_that_never_trained() -> None:
    """Protects the first round, and a client that was restarted without its memory."""
    assert same(read_state(RecordDict()), ClientState())


def test_what_an_app_keeps_beside_it_stays() -> None:
    """Protects the drop-in: the Context is the app's own, and only phloem's records are replaced."""
    records = RecordDict({"mine": ConfigRecord({"n": 1})})
    write_state(records, FULL)
    write_state(records, ClientState())
    assert dict(records.config_records["mine"]) == {"n": 1}
    assert same(read_state(records), ClientState())
    assert RESIDUAL not in records
    assert SENT not in records


@pytest.mark.parametrize(
    ("record", "changes"),
    [
        (MESSAGE, {"held": "7"}),
        (MESSAGE, {"seq": 1.5}),
        (SENT, {"blob": "text"}),
        (SENT, {"seq": b"1"}),
        (SENT, {"reply.loss": float("nan")}),
        (SENT, {"reply.surprise": 1}),
    ],
)
def test_a_state_that_somebody_changed_is_refused(record: str, changes: dict[str, object]) -> None:
    """Protects against a Context of another version: an error of phloem's, never a wrong residual."""
    records = RecordDict()
    write_state(records, FULL)
    records.config_records[record].update(changes)  # type: ignore[arg-type]
    with pytest.raises(ProtocolError):
        read_state(records)


@pytest.mark.parametrize(
    ("record", "key"), [(MESSAGE, "seq"), (SENT, "blob"), (SENT, "codec"), (SENT, "reply.seq")]
)
def test_a_state_with_something_missing_is_refused(record: str, key: str) -> None:
    """Protects against half a state."""
    records = RecordDict()
    write_state(records, FULL)
    del records.config_records[record][key]
    with pytest.raises(ProtocolError):
        read_state(records)


def test_an_applied_update_is_committed() -> None:
    """Protects against counting twice: what the server has is no longer in the residual."""
    for acked in (5, 6, 100):
        settled = settle(FULL, acked, SCHEMA)
        assert settled.pending is None
        assert settled.codec is FULL.codec
        assert settled.seq == max(5, acked)


@given(st.integers(-(2**62), 4))
def test_an_update_that_was_not_applied_is_taken_back_whole(acked: int) -> None:
    """Protects the sum: residual after = residual before, decoded update included, in float32's precision."""
    settled = settle(FULL, acked, SCHEMA)
    assert settled.pending is None
    assert settled.seq == 5, "its number is used up: the server may yet have seen it"
    whole = add(update(1), update(2))
    assert settled.codec.residual is not None
    for name, tensor in settled.codec.residual.items():
        np.testing.assert_allclose(tensor, whole[name], rtol=1e-6, atol=1e-6)


def test_settling_twice_changes_nothing_more() -> None:
    """Protects a repeated instruction: mass comes back once."""
    once = settle(FULL, 0, SCHEMA)
    assert same(settle(once, 0, SCHEMA), once)
    assert FULL.pending is not None, "the state that came in is as it was"


def test_without_a_residual_a_lost_update_is_lost() -> None:
    """Protects the meaning of a codec without `ef`: it remembers nothing."""
    plain = replace(FULL, codec=CodecState())
    assert settle(plain, 0, SCHEMA).codec.residual is None


ASKED = Instruction(round=3, version=7, model_hash=b"", acked_seq=4, codec=CODEC, seed=1)


@pytest.mark.parametrize(
    ("instruction", "answered"),
    [
        (ASKED, True),
        (replace(ASKED, acked_seq=5), False),
        (replace(ASKED, round=4), False),
        (replace(ASKED, version=8), False),
        (replace(ASKED, codec="fp16"), False),
    ],
    ids=["the same", "applied already", "another round", "another model", "another codec"],
)
def test_an_answer_is_given_again_to_the_same_question_only(instruction: Instruction, answered: bool) -> None:
    """Protects a server that resumes: old bytes answer the very instruction that they were made for."""
    assert FULL.pending is not None
    assert FULL.pending.answers(instruction) is answered
    assert not replace(FULL.pending, reply=None).answers(instruction)
