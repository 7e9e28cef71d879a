"""What `phloem serve` prints and `phloem join` is given; and the frames of the enrolment port."""

from __future__ import annotations

import base64
import binascii

from phloem.errors import ConfigError, ProtocolError
from phloem.link.stream import parse
from phloem.proto import link_pb2

_PREFIX = "phloem1."
MOST_FRAME_BYTES = 16384


def write_token(token: link_pb2.JoinToken) -> str:
    """Return a token as text, of letters, digits, '-' and '_'."""
    return _PREFIX + base64.urlsafe_b64encode(token.SerializeToString()).decode().rstrip("=")


def read_token(text: str) -> link_pb2.JoinToken:
    """Return the token a text stands for.

    Raises:
        ConfigError: it is no token, or not all of it.
    """
    text = text.strip()
    body = text.removeprefix(_PREFIX)
    token = link_pb2.JoinToken()
    try:
        if body == text:
            raise ProtocolError(f"no {_PREFIX!r} at the beginning")
        parse(token, base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True))
        if not (token.host and 0 < token.port < 65536 and len(token.authority) == 32 and token.secret):
            raise ProtocolError("fields that are missing")
    except (binascii.Error, ValueError, ProtocolError) as error:
        raise ConfigError(
            f"A join token should be as `phloem serve` printed it, {_PREFIX}… and about 100 letters. "
            f"Found: {error}. Copy the whole line."
        ) from None
    return token


def frame(raw: bytes) -> bytes:
    """Return a frame of the enrolment port."""
    return len(raw).to_bytes(4, "big") + raw


def frame_length(header: bytes) -> int:
    """Return how many bytes follow a frame's header.

    Raises:
        ProtocolError: more than a frame may have.
    """
    length = int.from_bytes(header, "big")
    if length > MOST_FRAME_BYTES:
        raise ProtocolError(f"A frame should have at most {MOST_FRAME_BYTES} bytes. Found {length}.")
    return length
