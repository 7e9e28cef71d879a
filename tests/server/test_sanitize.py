"""What a reply must be: each way of being wrong is found, under its own code, before it touches the model."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from phloem.compression.codec import codec
from phloem.compression.frame import Frame, pack
from phloem.compression.update import Schema
from phloem.errors import RejectedUpdate
from phloem.protocol import Reply
from phloem.server.sanitize import Expected, Limits, read_reply, read_update

EXPECTED = Expected(client="3", round=7, version=6, acked_seq=4)
LIMITS = Limits(max_samples=1000, max_change=10.0, classes=4)
SCHEMA = Schema.of({"w": np.zeros((5, 4), np.float32)})
DENSE = codec("dense")
GOOD = Reply(
    client="3",
    round=7,
    seq=5,
    held=6,
    samples=32,
    loss=1.5,
    correct=20,
    class_counts=np.array([8, 8, 8, 8], "<u4").tobytes(),
    train_seconds=0.1,
    encode_seconds=0.1,
    decode_seconds=0.1,
)


def fields(**changes: Any) -> Mapping[str, Any]:
    return {**GOOD.to_mapping(), **changes}


def frame(value: float = 1.0, *, base: int = 6, seq: int = 5) -> bytes:
    return DENSE.encode({"w": np.full((5, 4), value, np.float32)}, base=base, seq=seq)[0]


def test_an_honest_reply_passes() -> None:
    """The checks let through what they should."""
    sane = read_update(read_reply(fields(), EXPECTED, LIMITS), frame(), DENSE, SCHEMA, LIMITS)
    np.testing.assert_array_equal(sane.update["w"], 1.0)
    assert sane.class_counts.tolist() == [8, 8, 8, 8]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"client": "4"}, "identity"),
        ({"round": 6}, "stale"),
        ({"held": 5}, "stale"),
        ({"seq": 4}, "stale"),
        ({"seq": -1}, "stale"),
        ({"seq": 2**63}, "stale"),
        ({"samples": 1001}, "weight"),
        ({"samples": 2**62}, "weight"),
        ({"samples": -1}, "weight"),
        ({"samples": 1e30}, "protocol"),
        ({"samples": True}, "protocol"),
        ({"samples": "32"}, "protocol"),
        ({"samples": [32]}, "protocol"),
        ({"correct": 33}, "weight"),
        ({"loss": float("nan")}, "protocol"),
        ({"loss": float("inf")}, "protocol"),
        ({"class_counts": b"123"}, "weight"),
        ({"class_counts": np.array([2**32 - 1] * 4, "<u4").tobytes()}, "weight"),
        ({"class_counts": np.zeros(3, "<u4").tobytes()}, "weight"),
        ({"surprise": 1}, "protocol"),
    ],
)
def test_a_wrong_field_is_rejected_under_its_code(changes: Mapping[str, Any], code: str) -> None:
    """Weights cannot be inflated, and nobody speaks for somebody else."""
    with pytest.raises(RejectedUpdate) as caught:
        read_reply(fields(**changes), EXPECTED, LIMITS)
    assert caught.value.code == code


def test_a_missing_field_is_rejected() -> None:
    """A reply of another version of the protocol does not get as far as the decoder."""
    with pytest.raises(RejectedUpdate, match="should have"):
        read_reply({}, EXPECTED, LIMITS)


@pytest.mark.parametrize(
    ("blob", "code"),
    [
        (b"", "corrupt"),
        (b"alien bytes", "corrupt"),
        (frame()[:-1], "corrupt"),
        (frame() + b"\0", "corrupt"),
        (codec("fp16").encode({"w": np.ones((5, 4), np.float32)}, base=6, seq=5)[0], "corrupt"),
        (codec("dense").encode({"w": np.ones((4, 5), np.float32)}, base=6, seq=5)[0], "corrupt"),
        (frame(base=5), "stale"),
        (frame(seq=6), "stale"),
        (frame(10.5), "change"),
        (frame(-1e30), "change"),
    ],
)
def test_a_wrong_frame_is_rejected_under_its_code(blob: bytes, code: str) -> None:
    """Truncated, alien, of another shape, replayed, or far too large: none reaches the mean."""
    with pytest.raises(RejectedUpdate) as caught:
        read_update(GOOD, blob, DENSE, SCHEMA, LIMITS)
    assert caught.value.code == code


def test_a_frame_with_nan_is_rejected() -> None:
    """A NaN that no honest encoder writes is found by the decoder."""
    nan = np.full((5, 4), np.nan, "<f4").tobytes()
    blob = pack(Frame(SCHEMA.fingerprint, DENSE.wire_text, 6, 5, (nan,)))
    with pytest.raises(RejectedUpdate) as caught:
        read_update(GOOD, blob, DENSE, SCHEMA, LIMITS)
    assert caught.value.code == "corrupt"
