"""A picture of what reaches clients over time: which classes, under which concept, and where it changes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phloem.federation import Federation

SIGNS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""One for each class or concept; what comes after them is `+`."""
MIXED = "·"
EMPTY = " "


@dataclass(frozen=True, eq=False, slots=True)
class Mix:
    """Every client's stream cut into bins of equal time, from its first sample to its last.

    A share with fewer samples than bins has empty ones; a stream that goes on elsewhere has only such.
    """

    counts: NDArray[np.int64]
    """How many samples of each class, `(clients, bins, classes)`."""
    concepts: NDArray[np.int64]
    """The concept of most samples of the bin, `(clients, bins)`; -1 in an empty one."""
    drifts: NDArray[np.int64]
    """How many changes begin in the bin, `(clients, bins)`."""

    @property
    def shares(self) -> NDArray[np.float64]:
        """The counts as shares of their bin, `(clients, bins, classes)`; 0 in an empty one."""
        whole: NDArray[np.int64] = np.maximum(self.counts.sum(axis=2, keepdims=True), 1)
        return np.divide(self.counts, whole, dtype=np.float64)


def mix_over_time(federation: Federation, bins: int = 48) -> Mix:
    """Return what comes when, at every client."""
    clients, classes = len(federation.shares), federation.classes
    counts = np.zeros((clients, bins, classes), np.int64)
    concepts = np.zeros((clients, bins, federation.concept_count), np.int64)
    drifts = np.zeros((clients, bins), np.int64)
    for client, share in enumerate(federation.shares):
        where = np.arange(len(share)) * bins // max(1, len(share))
        np.add.at(counts[client], (where, share.y), 1)
        number = federation.concepts[client] if federation.concepts else np.zeros(len(share), np.int64)
        np.add.at(concepts[client], (where, number), 1)
    for drift in federation.drifts:
        length = len(federation.shares[drift.client])
        drifts[drift.client, drift.position * bins // length] += 1
    most = np.where(concepts.sum(axis=2) > 0, concepts.argmax(axis=2), -1)
    return Mix(counts, most, drifts)


def as_text(mix: Mix, clients: int = 12) -> str:
    """Return two lines for each of the first clients: the class of half of a bin or more, and the concept.

    `·` stands for a mix of classes, a blank for an empty bin.
    """
    lines = []
    for client in range(min(clients, len(mix.counts))):
        shares, total = mix.shares[client], mix.counts[client].sum(axis=1)
        row = [
            EMPTY if not n else _sign(int(share.argmax())) if share.max() >= 0.5 else MIXED
            for n, share in zip(total, shares, strict=True)
        ]
        concept = [EMPTY if each < 0 else _sign(int(each)) for each in mix.concepts[client]]
        lines.append(f"client {client:>3}  class   {''.join(row)}".rstrip())
        lines.append(f"            concept {''.join(concept)}".rstrip())
    left = len(mix.counts) - clients
    return "\n".join([*lines, *([f"and {left} more clients"] if left > 0 else [])])


def _sign(number: int) -> str:
    return SIGNS[number] if number < len(SIGNS) else "+"
