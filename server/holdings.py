"""What all clients hold: of the whole network, and of each part of it that some have.

Clients with the same part share the coding of its steps, as those with the whole do. Each part has versions
of its own, and begins with its slice of the first version, which a client that can make that can cut itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from phloem.compression.update import Update
from phloem.protocol import FIRST_VERSION
from phloem.server.held import Downlink, Held, Path, Position, begin, send, welcome
from phloem.submodel import Submodel


@dataclass(frozen=True)
class Holdings:
    """A value, replaced by every send and every reply."""

    whole: Held = field(default_factory=Held)
    parts: Mapping[str, Held] = field(default_factory=dict)
    """By mask, in hexadecimal digits."""
    masks: Mapping[str, str] = field(default_factory=dict)
    """Of the clients that have a part; those of all others that were asked are empty."""

    @property
    def next_version(self) -> int:
        """One more than the highest version of any network."""
        return max(held.next_version for held in (self.whole, *self.parts.values()))

    def mask(self, client: str) -> bytes:
        """Return which part a client has; empty for the whole network."""
        return bytes.fromhex(self.masks.get(client, ""))

    def of(self, client: str) -> Held:
        """Return what those hold that have the same network as this client."""
        mask = self.masks.get(client, "")
        return self.parts[mask] if mask else self.whole

    def position(self, client: str) -> Position:
        """Return where a client is."""
        return self.of(client).position(client)

    def weights(self, client: str) -> Update:
        """Return what a client holds that arrived where it was sent."""
        return self.of(client).weights(client)

    def confirm(self, client: str) -> Holdings:
        """Note that a client arrived where it was sent."""
        return self._with(client, self.of(client).confirm(client))

    def forget(self, client: str) -> Holdings:
        """Note that a client may hold nothing any more but what it can make itself."""
        return self._with(client, self.of(client).forget(client))

    def astray(self, client: str) -> Holdings:
        """Forget a client that lost its way."""
        return self._with(client, self.of(client).astray(client))

    def welcome(self, client: str, first_hash: bytes) -> Holdings:
        """Note that a client came later, with its hash of the first version."""
        return replace(self, whole=welcome(self.whole, client, first_hash))

    def give(self, client: str, part: Submodel | None, mask: bytes) -> Holdings:
        """Give a client its part of the network for the rest of the run; None for the whole of it."""
        self = replace(self, masks={**self.masks, client: mask.hex()})
        if part is None:
            return self
        held = self.parts.get(mask.hex()) or begin(part.narrow(self.whole.models[FIRST_VERSION].weights), ())
        if client in self.whole.makers:
            held = welcome(held, client, held.models[FIRST_VERSION].hash)
        return self._with(client, held)

    def send(
        self, clients: Iterable[str], model: Update, downlink: Downlink, *, seed: int, keep: Iterable[str]
    ) -> tuple[Holdings, dict[str, Path]]:
        """Return each client's path to `model`, the slice of the global one that these clients all have."""
        clients = tuple(clients)
        of = clients[0] if clients else ""
        held, paths = send(self.of(of), clients, model, downlink, seed=seed, keep=keep)
        return self._with(of, held), paths

    def _with(self, client: str, held: Held) -> Holdings:
        mask = self.masks.get(client, "")
        return replace(self, parts={**self.parts, mask: held}) if mask else replace(self, whole=held)
