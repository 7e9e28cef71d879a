"""What other frameworks put on the wire, made again from their papers and documentation.

Only their arrays are counted: no pickle, JSON or protobuf around them, so real messages are longer.
These are for comparison on one's own updates. They trust their input, so they decode nothing from outside.

    OpenFL STC   F. Sattler et al., "Robust and communication-efficient federated learning from non-iid
                 data", 2019; OpenFL sends one float32 a value, gzipped, where the paper sends Golomb codes
    OpenFL KC    k-means of each tensor's values; the labels likewise as gzipped float32
    NVFlare      blocks scaled to their largest magnitude and rounded to a codebook, as bitsandbytes does:
                 T. Dettmers et al., "8-bit optimizers via block-wise quantization", 2022, and
                 "QLoRA: efficient finetuning of quantized LLMs", 2023
"""

from __future__ import annotations

import gzip
import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from phloem.compression.update import Schema, Update

Floats = NDArray[np.float32]
Labels = NDArray[np.uint8]

NORMAL_FLOAT_4 = np.array(
    [
        *(-1.0, -0.6961928, -0.52507305, -0.3949175, -0.28444138, -0.18477343, -0.09105004, 0.0),
        *(0.0795803, 0.1609302, 0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0),
    ],
    np.float32,
)
"""QLoRA, appendix E."""

LLOYD_ROUNDS = 20


def dynamic_codebook() -> Floats:
    """Return 256 values of the dynamic tree type: seven decades, each with twice the values of the last."""
    positive: list[float] = []
    for decade in range(7):
        edges = np.linspace(0.1, 1, 2**decade + 1)
        positive += list(10.0 ** (decade - 6) * (edges[:-1] + edges[1:]) / 2)
    return np.array(sorted([0.0, 1.0, *positive, *(-value for value in positive)]), np.float32)


@dataclass(frozen=True, eq=False)
class Blockwise:
    """`bits` a value, a float32 a block, and the codebook with every tensor, as NVFlare sends it."""

    codebook: Floats = field(repr=False)
    bits: int
    block: int

    def encode(self, update: Update) -> bytes:
        """Scale, look up, pack."""
        return b"".join(self._encode_one(tensor.ravel()) for tensor in update.values())

    def _encode_one(self, values: Floats) -> bytes:
        padded = np.zeros(-(-values.size // self.block) * self.block, np.float32)
        padded[: values.size] = values
        rows = padded.reshape(-1, self.block)
        most = np.abs(rows).max(axis=1, initial=0)
        between = (self.codebook[1:] + self.codebook[:-1]) / 2
        labels = np.searchsorted(between, rows / np.where(most, most, 1)[:, None]).astype(np.uint8)
        packed = labels.ravel() if self.bits == 8 else (labels[:, ::2] << 4 | labels[:, 1::2]).ravel()
        packed = packed[: -(-values.size * self.bits // 8)]
        return b"".join([self.codebook.tobytes(), most.tobytes(), packed.tobytes()])

    def decode(self, blob: bytes, schema: Schema) -> Update:
        """Look up, scale."""
        update, at = {}, 0
        for tensor in schema.tensors:
            at += self.codebook.nbytes
            blocks = -(-tensor.size // self.block)
            most = np.frombuffer(blob, np.float32, blocks, at)
            at += most.nbytes
            packed = np.frombuffer(blob, np.uint8, -(-tensor.size * self.bits // 8), at)
            at += packed.nbytes
            labels = packed if self.bits == 8 else np.stack([packed >> 4, packed & 15], axis=1).ravel()
            values = self.codebook[labels[: tensor.size]] * np.repeat(most, self.block)[: tensor.size]
            update[tensor.name] = values.reshape(tensor.shape)
        return update


BLOCKWISE_8 = Blockwise(dynamic_codebook(), 8, 4096)
NORMFLOAT_4 = Blockwise(NORMAL_FLOAT_4, 4, 64)


@dataclass(frozen=True)
class OpenFlStc:
    """The largest `fraction` of each tensor's values, as one magnitude and signs."""

    fraction: float

    def encode(self, update: Update) -> bytes:
        """Select, and send a float32 for every place; the magnitude is the mean of what is kept."""
        parts = []
        for tensor in update.values():
            values = tensor.ravel()
            kept = math.ceil(self.fraction * values.size)
            index = np.argsort(np.abs(values))[values.size - kept :]
            signs = np.zeros(values.size, np.float32)
            signs[index] = np.sign(values[index])
            magnitude = np.float32(np.abs(values[index]).mean() if kept else 0)
            parts.append(magnitude.tobytes() + _gzipped(signs))
        return b"".join(parts)

    def decode(self, blob: bytes, schema: Schema) -> Update:
        """Multiply."""
        update, at = {}, 0
        for tensor in schema.tensors:
            magnitude = np.frombuffer(blob, np.float32, 1, at)
            signs, at = _gunzipped(blob, at + 4)
            update[tensor.name] = (signs * magnitude).reshape(tensor.shape)
        return update


@dataclass(frozen=True)
class OpenFlKc:
    """Each tensor's values by the nearest of `clusters` means."""

    clusters: int

    def encode(self, update: Update) -> bytes:
        """Cluster, and send a float32 for every label."""
        parts = []
        for tensor in update.values():
            means = _means(tensor.ravel(), self.clusters)
            labels = np.searchsorted((means[1:] + means[:-1]) / 2, tensor.ravel())
            parts.append(means.tobytes() + _gzipped(labels.astype(np.float32)))
        return b"".join(parts)

    def decode(self, blob: bytes, schema: Schema) -> Update:
        """Look up."""
        update, at = {}, 0
        for tensor in schema.tensors:
            means = np.frombuffer(blob, np.float32, self.clusters, at)
            labels, at = _gunzipped(blob, at + means.nbytes)
            update[tensor.name] = means[labels.astype(np.intp)].reshape(tensor.shape)
        return update


def _means(values: Floats, count: int) -> Floats:
    """Lloyd's algorithm in one dimension, from evenly spaced starts."""
    means = np.linspace(values.min(initial=0), values.max(initial=0), count)
    for _ in range(LLOYD_ROUNDS):
        labels = np.searchsorted((means[1:] + means[:-1]) / 2, values)
        sizes = np.bincount(labels, minlength=count)
        sums = np.bincount(labels, values, minlength=count)
        means = np.where(sizes, sums / np.maximum(sizes, 1), means)
    return means.astype(np.float32)


def _gzipped(values: Floats) -> bytes:
    squeezed = gzip.compress(values.tobytes(), mtime=0)
    return len(squeezed).to_bytes(4, "little") + squeezed


def _gunzipped(blob: bytes, at: int) -> tuple[Floats, int]:
    start = at + 4
    end = start + int.from_bytes(blob[at:start], "little")
    return np.frombuffer(gzip.decompress(blob[start:end]), np.float32), end
