"""What the laws are run over: codecs that together use every registered name, and updates of every kind."""

from __future__ import annotations

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from phloem.compression.codec import codec
from phloem.compression.update import Schema

Arrays = dict[str, NDArray[np.float32]]

CODECS = (
    "dense",
    "fp16",
    "linear:1",
    "linear:2",
    "linear:3,per=channel",
    "linear:4",
    "linear:5,per=tensor",
    "linear:8",
    "linear:1,rounding=stochastic",
    "linear:4,rounding=stochastic",
    "topk:0.01",
    "topk:0.3",
    "topk:1",
    "topk:0.2,scope=update",
    "topk:0.05,warmup=3",
    "threshold:0.01",
    "soft:0.5",
    "randk:0.1",
    "randk:0.4,scale=unbiased",
    "channels:0.3",
    "lowrank:1",
    "lowrank:3",
    "svd:2",
    "svd:energy=0.5",
    "bf16",
    "kmeans:2",
    "kmeans:13",
    "sign",
    "ternary:0.05",
    "log:2",
    "log:5,rounding=stochastic",
    "qsgd:5",
    "eden:1",
    "eden:4,scale=unbiased",
    "zstd",
    "dense | zstd:19",
    "fp16 | zstd",
    "topk:0.1 | linear:4",
    "topk:0.5 | topk:0.5 | fp16",
    "topk:0.3,scope=update | linear:4 | zstd",
    "svd:energy=0.3 | linear:8 | zstd",
    "topk:0.3 | linear:4 | rans",
    "lowrank:2 | linear:8 | rans",
    "ef | ternary:0.2 | rans | zstd",
    "fp16 | rans",
    "randk:0.5 | threshold:0.02 | linear:4",
    "channels:0.5 | lowrank:1 | soft:0.001 | bf16",
    "lowrank:2 | topk:0.5 | linear:6 | zstd | zstd:1",
    "lowrank:2 | linear:8,per=channel,rounding=stochastic",
    "dither:0.01",
    "dither:0.5",
    "rdo:bpp=2",
    "rdo:nmse=0.1",
    "rdo:bytes=2kB",
    "ef | rdo:bpp=1",
    "ef | topk:0.1 | linear:4 | zstd",
    "ef | linear:1",
    "ef:decay=0.9 | lowrank:2 | fp16",
    "ef:norm=1.5 | ternary:0.1",
    "ef | topk:0.02,scope=update,warmup=2 | linear:4",
    "dgc | topk:0.1",
    "dgc:momentum=0.5 | threshold:0.5 | linear:4",
)
"""Canonical texts. A new stage or body gets a line here, and the laws hold for it or it is not registered."""


def updates() -> dict[str, Arrays]:
    """Updates by what is special about them."""
    rng = np.random.default_rng(20)

    def normal(*shape: int) -> NDArray[np.float32]:
        return rng.standard_normal(shape, np.float32)

    sparse = normal(12, 33)
    sparse[np.abs(sparse) < 1] = 0
    return {
        "usual": {"w": normal(20, 33) * np.float32(0.01), "b": normal(20) * np.float32(0.01)},
        "convolution": {"kernel": normal(8, 3, 3, 3), "bias": normal(8), "scale": np.array(0.1, np.float32)},
        "heavy tails": {"w": normal(9, 31) ** 5},
        "sparse": {"w": sparse, "none": np.zeros((7, 5), np.float32)},
        "equal magnitudes": {"w": np.sign(normal(11, 13))},
        "tiny values": {"w": normal(6, 40) * np.float32(1e-36), "v": normal(3) * np.float32(1e-44)},
        "empty tensors": {"w": normal(0, 4), "one": normal(1), "v": normal(0)},
        "no tensors": {},
    }


def usual() -> tuple[Arrays, Schema]:
    """The first of the updates, and its schema."""
    update = updates()["usual"]
    return update, Schema.of(update)


def through(text: str, tensor: NDArray[np.float32], seed: int = 0) -> NDArray[np.float32]:
    """A tensor as it arrives."""
    blob, _ = codec(text).encode({"w": tensor}, seed=seed)
    return codec(text).decode(blob, Schema.of({"w": tensor}))["w"]


def locked(update: Arrays) -> Arrays:
    """The same arrays; NumPy raises where somebody writes to them."""
    for tensor in update.values():
        tensor.flags.writeable = False
    return update


def resealed(content: bytes) -> bytes:
    """A frame's content with the right checksum at its end."""
    checksum: int = google_crc32c.value(content)
    return content + b"\x3d" + checksum.to_bytes(4, "little")
