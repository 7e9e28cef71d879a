"""The section `link`: what the server lets a device's connection cost, and how long it waits for one."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from phloem.settings.base import Positive, Section


class LinkConfig(Section):
    """The thin link between `phloem serve` and `phloem join`."""

    keepalive_s: Positive = 240.0
    """An idle connection is tried after so long: before a NAT forgets it, and as rarely as that allows."""
    absence_s: Positive = 60.0
    """A device away for longer counts as missing in the round; until then the server waits for it."""
    most_bytes: Annotated[int, Field(ge=65536, lt=2**31)] = 64 * 2**20
    """The largest message either way."""
    most_waiting: Annotated[int, Field(ge=1)] = 8
    """How many messages may wait for one device; the next is answered with an error."""
    handshake_s: Positive = 10.0
    """A peer that has not said who it is by then is dropped."""
    token_hours: Positive = 24.0
    """How long a join token may be used."""
    certificate_days: Positive = 365.0
    """How long a device's certificate is good; a device that connects in its last third gets a new one."""
    joining_at_once: Annotated[int, Field(ge=1)] = 32
    """How many connections one address may have to the enrolment port; an IPv6 network /64 is one address."""
    refusals_a_minute: Annotated[int, Field(ge=1)] = 20
    """How many attempts to join from one address may fail in a minute; the next ones are not looked at."""
