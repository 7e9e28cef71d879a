"""The section `network`: what becomes of messages in a simulation; real devices have their own."""

from __future__ import annotations

from phloem.settings.base import Fraction, NotNegative, Section


class NetworkConfig(Section):
    """Absence, loss and delay in a simulation, drawn anew for every round and client from the run's seed."""

    missing: Fraction = 0.0
    """The share of a round's clients that are away: what is sent to them never reaches them."""
    lost: Fraction = 0.0
    """The share of replies that are lost, after their clients have learned."""
    delay_s: NotNegative = 0.0
    """The median time from instruction to reply; beyond `server.round_timeout_s` a reply is lost."""
    delay_spread: NotNegative = 0.5
    """The standard deviation of the delay's logarithm; half of its variance is a device's own, for good."""
