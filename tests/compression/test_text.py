"""The text of a codec: what it means, and what it says to those who misspell it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import pytest

from phloem.compression.chain import Chain
from phloem.compression.codec import Codec, codec
from phloem.compression.dense import Dense
from phloem.compression.feedback import ErrorFeedback
from phloem.compression.frame import CODEC_MOST_BYTES
from phloem.compression.linear import Linear
from phloem.compression.registry import BODIES, BYTE_STAGES, STAGES
from phloem.compression.stage import StageBytes, Warm
from phloem.compression.text import ByteCount, build, render
from phloem.compression.topk import TopK
from phloem.compression.update import Schema, TensorSpec, Update
from phloem.compression.zstd import Zstd
from phloem.errors import CodecError


def test_text_means_an_object() -> None:
    """What is written is what is made."""
    made = codec("ef : decay=0.5|topk:1e-2 | linear : 4, rounding = stochastic | zstd")
    stages = (TopK(0.01), Linear(4, rounding="stochastic"))
    assert made == Codec(Chain(stages, (Zstd(),)), ErrorFeedback(decay=0.5))
    assert str(made) == "ef:decay=0.5 | topk:0.01 | linear:4,rounding=stochastic | zstd"


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("linear:bits=4", "linear:4"),
        ("linear:per=tensor,bits=4", "linear:4,per=tensor"),
        ("linear:4,per=block,rounding=nearest", "linear:4"),
        ("topk:1.0", "topk:1"),
        ("topk:0.010", "topk:0.01"),
        ("topk:1e-05", "topk:1e-05"),
        ("zstd:3", "zstd"),
        ("ef:decay=1|dense", "ef | dense"),
        ("powersgd:4|linear:8", "lowrank:4 | linear:8"),
    ],
)
def test_one_codec_one_text(text: str, canonical: str) -> None:
    """However a codec is written, logs and frames name it in one way."""
    assert str(codec(text)) == canonical
    assert codec(text) == codec(canonical)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "Found ''"),
        ("dense |", "Found 'dense |'"),
        ("| dense", "Found '| dense'"),
        ("dense:", "Found 'dense:'"),
        ("topq:0.1", r"among .*lowrank.* Found 'topq'. Did you mean 'topk'"),
        ("Dense", "Did you mean 'dense'"),
        ("ef", "followed by a codec"),
        ("dense | ef", "`ef` should come once and first"),
        ("ef | ef | dense", "`ef` should come once and first"),
        ("topk", "`topk` needs `fraction`"),
        ("topk:", "Found 'topk:'"),
        ("topk:much", "`fraction` of `topk` should be a number. Found 'much'"),
        ("topk:0.1,0.2", "`topk` takes `fraction`, `scope`, `by`, `warmup`. Found the bare value '0.2'"),
        ("linear:4.5", "`bits` of `linear` should be a whole number. Found '4.5'"),
        ("linear:4,bit=3", r"`linear` takes `bits`, `per`, `rounding`. Found 'bit'. Did you mean 'bits'"),
        ("linear:4,bits=3", "`bits` once"),
        ("linear:4,tensor", "Found the bare value 'tensor'"),
        ("linear:4,", "Found the bare value ''"),
        ("dense:3", "`dense` takes no arguments"),
        ("linear:4 | topk:0.1", r"`topk:0.1` should come where .* Found only symbols"),
        ("fp16 | linear:4", "Found only symbols"),
        ("topk:0.1 | fp16 | dense", "Found only index and symbols"),
        ("zstd | linear:4", "`linear` should come before the stages that act on bytes"),
        (" | ".join(["zstd"] * 17), "at most 16 parts. Found 17"),
        ("zstd|" * 1_000_000 + "zstd", "at most 16 parts. Found 1000001"),
        ("x" * 5000, "at most 512 letters. Found 5000: 'x{40}'"),
        ("LINEAR:4", "Did you mean 'linear'"),
        ("none", "Did you mean 'dense'"),
        ("topk:0.1 | gzip", "Did you mean 'zstd'"),
    ],
)
def test_what_cannot_work_is_refused_at_once(text: str, complaint: str) -> None:
    """A wrong chain fails when it is configured, and its error says where and why."""
    with pytest.raises(CodecError, match=complaint):
        codec(text)


@pytest.mark.parametrize("found", [None, 4, codec("dense")])
def test_a_codec_is_a_text(found: object) -> None:
    """Whoever passes on a setting that is not there, or a codec already made, is told."""
    with pytest.raises(CodecError, match="A codec should be a text such as"):
        codec(found)


def test_names_are_written_once() -> None:
    """The registry's names are those that the parts write of themselves."""
    for table in (STAGES, BYTE_STAGES):
        for name, kind in table.items():
            assert kind.name == name


def test_long_names_are_cut_on_the_wire() -> None:
    """A frame's header keeps its bound, and different codecs keep different names."""
    long = "lowrank:4 | linear:8,per=channel,rounding=stochastic"
    names = {codec(f"{long} | zstd:{level}").wire_text for level in range(1, 20)}
    assert len(names) == 19
    assert {len(name) for name in names} == {CODEC_MOST_BYTES}
    assert codec("ef | topk:0.01 | linear:4").wire_text == "topk:0.01|linear:4"


Payload = bytes  # inside the class below, the name is a field's


@dataclass(frozen=True)
class Budget:
    """A body of its own, as a codec of whole updates is: what the registry has to have room for."""

    name: ClassVar[str] = "budget"
    _: KW_ONLY
    bpp: float | None = None
    bytes: ByteCount | None = None

    def encode(self, update: Update, schema: Schema, warm: Warm, seed: int) -> tuple[list[Payload], Warm]:
        """Send everything, whatever it costs."""
        return Chain((Dense(),)).encode(update, schema, warm, seed)

    def decode(self, payloads: Sequence[Payload], schema: Schema) -> Update:
        """Receive it."""
        return Chain((Dense(),)).decode(payloads, schema)

    def decode_traced(
        self, payloads: Sequence[Payload], schema: Schema
    ) -> tuple[Update, tuple[StageBytes, ...]]:
        """Receive it in one step."""
        return self.decode(payloads, schema), (StageBytes(str(self), sum(map(len, payloads))),)

    def max_payload_bytes(self, tensor: TensorSpec) -> int:
        """As much as there is."""
        return 4 * tensor.size

    def __str__(self) -> str:
        return render(self)


@pytest.mark.parametrize(
    ("arguments", "canonical"),
    [
        ("bpp=0.1", "budget:bpp=0.1"),
        ("bytes=20kB", "budget:bytes=20kB"),
        ("bytes=20000", "budget:bytes=20kB"),
        ("bytes=1.5MB", "budget:bytes=1500kB"),
        ("bytes=20001B", "budget:bytes=20001"),
        ("bytes=2GB", "budget:bytes=2GB"),
    ],
)
def test_units_and_keywords(arguments: str, canonical: str) -> None:
    """Sizes are written with their unit; keyword-only arguments keep their key."""
    assert render(build(Budget, "budget", arguments)) == canonical
    with pytest.raises(CodecError, match=r"a size such as 20kB\. Found '20 potatoes'"):
        build(Budget, "budget", "bytes=20 potatoes")


def test_a_body_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A codec of whole updates takes the place of a chain, alone or after error feedback."""
    monkeypatch.setitem(BODIES, "budget", Budget)
    made = codec("ef | budget:bytes=20kB")
    assert made == Codec(Budget(bytes=ByteCount(20_000)), ErrorFeedback())
    assert str(made) == "ef | budget:bytes=20kB"
    assert made.wire_text == "budget:bytes=20kB"
    for wrong in ("budget | zstd", "topk:0.1 | budget"):
        with pytest.raises(CodecError, match="`budget` should stand alone"):
            codec(wrong)
