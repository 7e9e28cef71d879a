"""All stages and bodies by name, and the grammar that joins them.

    codec  = [ ( "ef" | "dgc" ) [ ":" arguments ] "|" ] body
    body   = stage { "|" stage }
    stage  = name [ ":" argument { "," argument } ]

A new stage is one line here; so is a new body, which stands in the place of a whole chain.
"""

from __future__ import annotations

from phloem.compression.bf16 import Bf16
from phloem.compression.chain import Chain
from phloem.compression.channels import Channels
from phloem.compression.dense import Dense
from phloem.compression.dither import Dither
from phloem.compression.eden import Eden
from phloem.compression.feedback import ErrorFeedback, Feedback
from phloem.compression.fp16 import Fp16
from phloem.compression.kmeans import KMeans
from phloem.compression.linear import Linear
from phloem.compression.log import Log
from phloem.compression.lowrank import LowRank
from phloem.compression.momentum import MomentumFeedback
from phloem.compression.qsgd import Qsgd
from phloem.compression.randk import RandK
from phloem.compression.rans import Rans
from phloem.compression.rdo import Rdo
from phloem.compression.sign import Sign
from phloem.compression.soft import Soft
from phloem.compression.stage import Body, ByteStage, Stage
from phloem.compression.svd import Svd
from phloem.compression.ternary import Ternary
from phloem.compression.text import build, suggest
from phloem.compression.threshold import Threshold
from phloem.compression.topk import TopK
from phloem.compression.zstd import Zstd
from phloem.errors import CodecError

STAGES: dict[str, type[Stage]] = {
    "dense": Dense,
    "fp16": Fp16,
    "bf16": Bf16,
    "linear": Linear,
    "topk": TopK,
    "threshold": Threshold,
    "soft": Soft,
    "randk": RandK,
    "channels": Channels,
    "lowrank": LowRank,
    "svd": Svd,
    "eden": Eden,
    "kmeans": KMeans,
    "sign": Sign,
    "ternary": Ternary,
    "log": Log,
    "qsgd": Qsgd,
    "rans": Rans,
}

BYTE_STAGES: dict[str, type[ByteStage]] = {
    "zstd": Zstd,
}

BODIES: dict[str, type[Body]] = {
    "dither": Dither,
    "rdo": Rdo,
}

ALIASES = {"powersgd": "lowrank"}
"""Other names from the literature; the canonical text has ours."""

FEEDBACKS: dict[str, type[Feedback]] = {
    "ef": ErrorFeedback,
    "dgc": MomentumFeedback,
}


OTHER_WORDS = {
    **dict.fromkeys(("none", "null", "identity", "raw", "fp32", "float32"), "dense"),
    **dict.fromkeys(("float16", "half"), "fp16"),
    **dict.fromkeys(("int8", "quantize", "quantization", "uniform"), "linear:8"),
    **dict.fromkeys(("prune", "sparse", "sparsify"), "topk:0.01"),
    **dict.fromkeys(("gzip", "zlib", "lz4", "deflate"), "zstd"),
    **dict.fromkeys(("huffman", "ans", "arithmetic", "entropy"), "rans"),
}
"""What people call what has another name here. Only told, never taken: their arguments differ."""

MOST_PARTS, MOST_LETTERS = 16, 512
"""A codec's text may come from outside, and every part costs a decoder time."""


def parse(text: str) -> tuple[Feedback | None, Body]:
    """Read a codec's text.

    Raises:
        CodecError: an unknown name, a wrong argument, or parts that do not work in this order.
    """
    if text.count("|") >= MOST_PARTS:
        raise CodecError(
            f"A codec should have at most {MOST_PARTS} parts. Found {text.count('|') + 1}. Leave some out."
        )
    if len(text) > MOST_LETTERS:
        raise CodecError(
            f"A codec's text should have at most {MOST_LETTERS} letters. Found {len(text)}: {text[:40]!r}…"
        )
    parts = [_split(part, text) for part in text.split("|")]
    feedback = None
    first = parts[0][0]
    if first in FEEDBACKS:
        feedback = build(FEEDBACKS[first], *parts.pop(0))
    if not parts:
        raise CodecError(
            f"`{first}` should be followed by a codec. Found nothing. "
            f"Write `{first} | topk:0.01`, for example."
        )
    if parts[0][0] in BODIES and len(parts) == 1:
        name, arguments = parts[0]
        return feedback, build(BODIES[name], name, arguments)
    return feedback, _chain(parts, text)


def names() -> list[str]:
    """Every name that a codec's text may use."""
    return sorted([*FEEDBACKS, *STAGES, *BYTE_STAGES, *BODIES])


def _split(part: str, text: str) -> tuple[str, str]:
    name, colon, arguments = (piece.strip() for piece in part.partition(":"))
    if not name or (colon and not arguments):
        raise CodecError(f"A codec should be parts such as `topk:0.01`, joined by `|`. Found {text!r}.")
    return ALIASES.get(name, name), arguments


def _chain(parts: list[tuple[str, str]], text: str) -> Chain:
    stages: list[Stage] = []
    byte_stages: list[ByteStage] = []
    for name, arguments in parts:
        if name in BYTE_STAGES:
            byte_stages.append(build(BYTE_STAGES[name], name, arguments))
        elif name not in STAGES:
            raise CodecError(_misplaced(name, text))
        elif byte_stages:
            raise CodecError(
                f"`{name}` should come before the stages that act on bytes. Found it after, in {text!r}."
            )
        else:
            stages.append(build(STAGES[name], name, arguments))
    return Chain(tuple(stages), tuple(byte_stages))


def _misplaced(name: str, text: str) -> str:
    if name in FEEDBACKS:
        return f"`{name}` should come once and first. Found {text!r}."
    if name in BODIES:
        return f"`{name}` should stand alone, or after `ef`: it codes the whole update. Found {text!r}."
    other = OTHER_WORDS.get(name.lower())
    hint = f" Did you mean {other!r}?" if other else suggest(name, names())
    return f"A codec's parts should be among {', '.join(names())}. Found {name!r}.{hint}"
