"""Whom the benchmark compares: phloem's codecs and what peers do, by family.

A peer whose method is a chain of phloem's stages is written as one. One whose wire format is its own is
re-made in `peers`. What cannot be had here is named, not imitated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from phloem.bench import peers
from phloem.compression.codec import Codec, CodecState, codec
from phloem.compression.update import Schema, Update
from phloem.errors import CodecError

OWN, LOSSLESS = "phloem", "lossless"


class Coder(Protocol):
    """Turns an update into bytes and back."""

    def encode(self, update: Update, /) -> bytes:
        """All that would be sent."""

    def decode(self, blob: bytes, schema: Schema, /) -> Update:
        """Invert `encode`, as far as it can be."""


@dataclass(frozen=True)
class Framed:
    """A phloem codec. Low-rank ones make two passes: warm-started, as after an update like this one."""

    codec: Codec

    def encode(self, update: Update) -> bytes:
        """One frame, the last; the time of both passes counts."""
        blob, state = self.codec.encode(update)
        return (
            self.codec.encode(update, CodecState(warm=state.warm))[0]
            if "lowrank" in str(self.codec)
            else blob
        )

    def decode(self, blob: bytes, schema: Schema) -> Update:
        """What the receiver sees."""
        return self.codec.decode(blob, schema)


@dataclass(frozen=True)
class Contender:
    """One row of the benchmark; contenders of one family are points on one curve."""

    family: str
    name: str
    coder: Coder


@dataclass(frozen=True, slots=True)
class Missing:
    """A preset that cannot be run, and why."""

    family: str
    name: str
    reason: str


PRESETS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (f"{OWN}: rdo", tuple(f"rdo:bpp={bpp}" for bpp in ("0.01", "0.03", "0.1", "0.3", "1", "2", "4"))),
    (f"{OWN}: dither", ("dither:0.01", "dither:0.1", "dither:0.5")),
    (f"{OWN}: topk", ("topk:0.002 | linear:4", "topk:0.01 | linear:4", "topk:0.05 | linear:4 | zstd")),
    (f"{OWN}: lowrank", ("lowrank:1 | linear:8", "lowrank:4 | linear:8", "lowrank:16 | linear:8")),
    (f"{OWN}: linear", ("linear:1", "linear:2", "linear:4", "linear:8")),
    (f"{OWN}: linear | rans", ("linear:2 | rans", "linear:4 | rans", "linear:8 | rans")),
    ("PowerSGD, fp16 factors", ("lowrank:1 | fp16", "lowrank:2 | fp16", "lowrank:4 | fp16")),
    ("STC (paper)", ("ternary:0.0025", "ternary:0.01", "ternary:0.05")),
    ("EDEN (OpenFL)", ("eden:1", "eden:2", "eden:4")),
    ("EDEN, unbiased", ("eden:1,scale=unbiased", "eden:2,scale=unbiased", "eden:4,scale=unbiased")),
    ("QSGD, FedPAQ: whole tensors", ("qsgd:1 | zstd", "qsgd:7 | zstd", "qsgd:127 | zstd")),
    (
        "QSGD, FedPAQ: in blocks",
        ("linear:2,rounding=stochastic", "linear:4,rounding=stochastic", "linear:8,rounding=stochastic"),
    ),
    ("k-means codebook", ("kmeans:4 | zstd", "kmeans:16 | zstd")),
    ("signSGD", ("sign",)),
    ("natural compression", ("log:4", "log:8,rounding=stochastic")),
    ("16 bits (NVFlare, Plato)", ("fp16", "bf16")),
    (LOSSLESS, ("dense", "zstd", "zstd:19")),
)
"""Codecs by family. Zstandard stands in where a paper has an entropy coder that phloem has no use for."""

MADE: tuple[tuple[str, str, Coder], ...] = (
    ("OpenFL STC as shipped", "openfl-stc:0.01", peers.OpenFlStc(0.01)),
    ("OpenFL STC as shipped", "openfl-stc:0.1", peers.OpenFlStc(0.1)),
    ("OpenFL KC as shipped", "openfl-kc:6", peers.OpenFlKc(6)),
    ("NVFlare blockwise", "nvflare-blockwise8", peers.BLOCKWISE_8),
    ("NVFlare blockwise", "nvflare-normfloat4", peers.NORMFLOAT_4),
)

ELSEWHERE = (
    Missing("APPFL SZ, ZFP", "sz3, zfp", "native libraries that phloem does not install"),
    Missing("ISO NNC", "nncodec", "compiles C++ when it is installed and brings another torch"),
)

SLOW = ("zstd:19", "openfl-stc:0.01", "openfl-stc:0.1", "openfl-kc:6")


def lineup(*, quick: bool = False) -> tuple[list[Contender], list[Missing]]:
    """Return all presets that can be run with the stages that are registered, and those that cannot."""
    able: list[Contender] = []
    missing: list[Missing] = list(ELSEWHERE)
    for family, texts in PRESETS:
        for text in texts:
            try:
                able.append(Contender(family, text, Framed(codec(text))))
            except CodecError as error:
                missing.append(Missing(family, text, str(error)))
    able += [Contender(*made) for made in MADE]
    return [one for one in able if not (quick and one.name in SLOW)], missing


def chosen(texts: Sequence[str]) -> Iterator[Contender]:
    """Make contenders of the user's own codecs.

    Raises:
        CodecError: one of them is none.
    """
    for made in dict.fromkeys(map(codec, texts)):
        yield Contender(OWN, str(made), Framed(made))
