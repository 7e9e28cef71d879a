"""A device's certificate is renewed over the link before it expires: same key, no token, nobody asked.

two thirds of its life are over ─> Renewal(request) ─> Renewed(certificate) ─> device.pem, link.json
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from phloem.client.link.enrol import Membership, keep, life_of, request_of
from phloem.errors import RunError

PAUSE_S = 3600.0
"""After asking, a device does not ask again for so long, whatever came of it."""


@dataclass
class Renewal:
    """When a device asks for its next certificate, and what it does with it."""

    folder: Path
    clock: Callable[[], float] = time.time
    asked_at: float = float("-inf")

    def wait_s(self, member: Membership) -> float:
        """Return in how many seconds to ask."""
        now = self.clock()
        return max(0.0, member.renew_at - now, self.asked_at + PAUSE_S - now)

    def request(self) -> bytes:
        """Return what to ask with: a request for the key that this device has, signed with it."""
        self.asked_at = self.clock()
        return request_of(self.folder)

    def accept(self, member: Membership, certificate: bytes) -> Membership:
        """Keep a new certificate; the next connection uses it.

        Raises:
            RunError: it is none, or for another key.
        """
        try:
            pem = ssl.DER_cert_to_PEM_cert(certificate).encode()
            renew_at, expires_at = life_of(pem, member.key)
        except ValueError as error:
            raise RunError(
                f"The server should renew this device's certificate. It sent something else: {error}."
            ) from None
        found = replace(member, certificate=pem, renew_at=renew_at, expires_at=expires_at)
        keep(self.folder, found)
        return found


def check_not_expired(member: Membership, now: float) -> None:
    """Refuse to connect with a certificate that the server would not take, which TLS would not explain.

    Raises:
        RunError: it has expired.
    """
    if now > member.expires_at:
        ended, clock = (time.strftime("%Y-%m-%d %H:%M", time.gmtime(t)) for t in (member.expires_at, now))
        raise RunError(
            f"This device's certificate should be good. It expired on {ended} UTC, for the device was away "
            f"too long to renew it; the clock here says {clock}. If that is wrong, set it; else get a new "
            "token (on the server: phloem serve … --replace PLACE) and run phloem join TOKEN. What was "
            "learned is kept."
        )
