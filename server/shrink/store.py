"""A model's file with its own codec for each tensor: what a device downloads before it runs anything.

    file    = groups  group of each tensor  length of each group  frame of each group
    groups  : 1 byte; a tensor's group: 1 byte; a length: 4 bytes, little-endian

Tensors of one codec share one frame, which has its own checksum and the fingerprint of exactly these
tensors: a file that assigns a tensor wrongly does not open.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from phloem.compression.codec import codec
from phloem.compression.update import Schema, Update
from phloem.errors import ConfigError, CorruptUpdate

MOST_GROUPS = 255


def pack(weights: Update, codecs: Mapping[str, str]) -> bytes:
    """Return the file in which each tensor is coded by the codec that is given for its name.

    Raises:
        ConfigError: a tensor has no codec, or there are more than 255 different ones.
    """
    without = sorted(weights.keys() - codecs.keys())
    texts = list(dict.fromkeys(codecs[name] for name in weights if name in codecs))
    if without or not 0 < len(texts) <= MOST_GROUPS:
        raise ConfigError(
            f"Every tensor should have a codec, of 1..{MOST_GROUPS} different ones. Found {len(texts)}, and "
            f"none for {without}. Name one for each."
        )
    frames = [
        codec(text).encode({name: weights[name] for name in weights if codecs[name] == text})[0]
        for text in texts
    ]
    table = bytes([len(texts), *(texts.index(codecs[name]) for name in weights)])
    return table + b"".join(struct.pack("<I", len(frame)) for frame in frames) + b"".join(frames)


def unpack(data: bytes, schema: Schema, codecs: Mapping[str, str]) -> Update:
    """Return the tensors of a file that was packed with the same schema and codecs.

    Raises:
        CorruptUpdate: the bytes are not such a file.
    """
    texts = list(dict.fromkeys(codecs[tensor.name] for tensor in schema.tensors))
    table = bytes([len(texts), *(texts.index(codecs[tensor.name]) for tensor in schema.tensors)])
    start = len(table) + 4 * len(texts)
    if data[: len(table)] != table or len(data) < start:
        raise CorruptUpdate(
            "A model's file should begin with the groups of its tensors. Found others: it is of another "
            "model or damaged. Have it sent again."
        )
    lengths = struct.unpack(f"<{len(texts)}I", data[len(table) : start])
    if start + sum(lengths) != len(data):
        raise CorruptUpdate(
            f"A model's file should have {start + sum(lengths)} bytes by its table. Found {len(data)}. "
            "Have it sent again."
        )
    found: dict[str, NDArray[np.float32]] = {}
    for text, length in zip(texts, lengths, strict=True):
        group = Schema(tuple(tensor for tensor in schema.tensors if codecs[tensor.name] == text))
        found.update(codec(text).decode(data[start : start + length], group))
        start += length
    return {tensor.name: found[tensor.name] for tensor in schema.tensors}
