"""Zstandard (RFC 8878) on the bytes of a tensor: good where rows repeat or most symbols are zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import zstandard

from phloem.errors import CodecError, CorruptUpdate

RAW, SQUEEZED = b"\x00", b"\x01"
MAGIC = b"\x28\xb5\x2f\xfd"
"""Starts every Zstandard frame, so it need not travel."""

LEVELS = range(1, 20)
SMALLEST_WINDOW, LARGEST_WINDOW = 10, 23
"""In bits. The decoder's memory beside its output; beyond 8 MiB a window gains updates nothing."""


@dataclass(frozen=True, slots=True)
class Zstd:
    """Lossless; never more than one byte longer than what it gets.

    >>> from phloem.compression.codec import codec
    >>> str(codec("linear:4 | zstd:3"))
    'linear:4 | zstd'
    """

    name: ClassVar[str] = "zstd"
    level: int = 3

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise CodecError(
                f"`level` of `zstd` should be in {LEVELS[0]}..{LEVELS[-1]}. Found {self.level}. "
                "Use `zstd:19` for the fewest bytes."
            )

    def most_bytes(self, size: int) -> int:
        """One byte says whether the rest is squeezed."""
        return size + 1

    def encode(self, data: bytes) -> bytes:
        """Squeeze, or leave as it is where that is shorter."""
        parameters = zstandard.ZstdCompressionParameters.from_level(
            self.level,
            source_size=len(data),
            window_log=_window_bits(len(data)),
            write_content_size=False,
            write_checksum=False,
            write_dict_id=False,
        )
        squeezed = zstandard.ZstdCompressor(compression_params=parameters).compress(data)[len(MAGIC) :]
        return SQUEEZED + squeezed if len(squeezed) < len(data) else RAW + data

    def decode(self, data: bytes, limit: int) -> bytes:
        """Unsqueeze into a buffer of `limit` bytes."""
        flag, rest = data[:1], data[1:]
        if flag == RAW:
            return rest
        if flag != SQUEEZED:
            raise CorruptUpdate(
                f"`zstd` bytes should start with 0 or 1. Found {data[:1].hex() or 'nothing'}."
            )
        try:
            return _unsqueeze(MAGIC + rest, limit)
        except zstandard.ZstdError as error:
            raise CorruptUpdate(
                f"`zstd` bytes should be one frame of at most {limit} bytes: {error}."
            ) from None


def _unsqueeze(frame: bytes, limit: int) -> bytes:
    found = zstandard.get_frame_parameters(frame)
    # A frame that claims a size makes the library allocate that size and forget the limit.
    if found.content_size != zstandard.CONTENTSIZE_UNKNOWN or found.has_checksum or found.dict_id:
        raise CorruptUpdate("A `zstd` frame should claim no size, checksum or dictionary. Found one of them.")
    if found.window_size > 1 << _window_bits(limit):
        raise CorruptUpdate(
            f"A `zstd` window should be at most {1 << _window_bits(limit)}. Found {found.window_size}."
        )
    return zstandard.ZstdDecompressor().decompress(frame, max_output_size=limit, allow_extra_data=False)


def _window_bits(size: int) -> int:
    return min(max(size.bit_length(), SMALLEST_WINDOW), LARGEST_WINDOW)
