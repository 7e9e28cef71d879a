"""What both ends of a stream share: compressed heads, limits, and names that never change.

Heads of one direction form one DEFLATE stream, so a name that came before costs next to nothing.
"""

from __future__ import annotations

import zlib
from hashlib import sha256

from google.protobuf.message import DecodeError, Message

from phloem.errors import ProtocolError

PROTOCOL = 1
SERVER_NAME = "phloem-link"
"""The name in every server certificate: the authority vouches for the server, not an address for it."""

METHOD = "/phloem.link.v1.Link/Connect"
MOST_HEAD_BYTES = 1 << 20
MOST_PROBE_BYTES = 262_144
"""The largest filler of a probe, either way."""

MOST_SKEW_S = 300.0
"""How far a device's clock may be from the server's: certificates and time limits need it about right."""

_WINDOW = 12
_TAIL = b"\x00\x00\xff\xff"


class Deflater:
    """Compresses the heads of one direction of a stream."""

    def __init__(self) -> None:
        """Begin a stream; about 20 kB of memory."""
        self._zlib = zlib.compressobj(9, zlib.DEFLATED, -_WINDOW, 5)

    def squeeze(self, head: bytes) -> bytes:
        """Return the next piece of the stream."""
        if not head:
            return b""
        return (self._zlib.compress(head) + self._zlib.flush(zlib.Z_SYNC_FLUSH)).removesuffix(_TAIL)


class Inflater:
    """The other end of a Deflater."""

    def __init__(self) -> None:
        """Begin a stream; about 10 kB of memory."""
        self._zlib = zlib.decompressobj(-_WINDOW)

    def expand(self, piece: bytes) -> bytes:
        """Return the next head; never more than `MOST_HEAD_BYTES`, whatever the piece claims.

        Raises:
            ProtocolError: the piece does not continue the stream, or grows too large.
        """
        if not piece:
            return b""
        try:
            head = self._zlib.decompress(piece + _TAIL, MOST_HEAD_BYTES)
        except zlib.error as error:
            raise ProtocolError(f"A head should continue its stream. Found: {error}.") from None
        if self._zlib.unconsumed_tail or self._zlib.eof:
            raise ProtocolError(f"A head should have at most {MOST_HEAD_BYTES} bytes. Found more, or an end.")
        return head


def squeeze_alone(raw: bytes) -> bytes:
    """Return bytes compressed on their own, outside any stream."""
    return zlib.compress(raw, 9, -15)


def expand_alone(raw: bytes) -> bytes:
    """Invert `squeeze_alone`.

    Raises:
        ProtocolError: it is something else, or grows too large.
    """
    inflater = zlib.decompressobj(-15)
    try:
        found = inflater.decompress(raw, MOST_HEAD_BYTES)
    except zlib.error as error:
        raise ProtocolError(f"Compressed settings were expected. Found: {error}.") from None
    if not inflater.eof:
        raise ProtocolError(f"Settings should have at most {MOST_HEAD_BYTES} bytes. Found more, or no end.")
    return found


def parse(message: Message, raw: bytes) -> None:
    """Read `raw` into `message`.

    Raises:
        ProtocolError: it is no such message.
    """
    try:
        message.ParseFromString(raw)
    except (DecodeError, UnicodeDecodeError) as error:
        name = type(message).__name__
        raise ProtocolError(f"A {name} of the link was expected. Found other bytes: {error}.") from None


def short_hash(raw: bytes) -> int:
    """Return 63 bits of the SHA-256, never 0."""
    return int.from_bytes(sha256(raw).digest()[:8], "little") >> 1 or 1
