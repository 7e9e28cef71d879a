"""Which codec each client is asked to send its update in: one for all, or one that a bandit learns to choose.

    observed: loss, alarms ─> context ─> worth of each level ─> less its bytes' price ─> level
                                  ^                                                        │
                                  └── share of the update that arrived, weighed by loss <──┘

A contextual bandit with linear worths and optimism, LinUCB: L. Li et al., "A contextual-bandit approach to
personalized news article recommendation", WWW 2010. What a level is worth to a client in a round is the share
of what the client owed that its frame carried, weighed by how much there was to learn: its loss.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from phloem.config import UplinkConfig
from phloem.protocol import Reply

FEATURES = 4
RIDGE = 0.1
OPTIMISM = 0.1
"""How many standard deviations above its mean a worth is hoped to be."""

ALARM_ROUNDS = 5
"""For so many rounds after an alarm a client counts as one whose stream has changed."""

MOST_LOSS = 2.0
"""A loss counts for at most so many times the first round's, whatever a client says."""

FORGET = 0.8


@dataclass(frozen=True)
class Levels:
    """What the server knows about clients and levels, as a value; `price` and `budget` are settings."""

    asked: Mapping[str, int] = field(default_factory=dict)
    """The level each client was last asked for."""
    contexts: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """In what context."""
    losses: Mapping[str, float] = field(default_factory=dict)
    alarms: Mapping[str, int] = field(default_factory=dict)
    """The round of each client's last alarm."""
    first_loss: float = 0.0
    last_loss: float = 0.0
    """The mean loss in the first and in the last round that anybody answered."""
    sizes: tuple[float, ...] = ()
    """The fading mean of an update's bytes at each level; 0 where none came yet."""
    spent: int = 0
    """Bytes of all updates so far."""
    worth: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    """For each level the sums of the regression: `design` `(levels, d, d)` and `gains` `(levels, d)`."""


def codec_for(config: UplinkConfig, levels: Levels, client: str) -> str:
    """Return the codec a client is asked for, and its reply is decoded by."""
    if config.allocate == "fixed" or client not in levels.asked:
        return config.codec
    return config.level_texts[levels.asked[client]]


def choose_levels(
    config: UplinkConfig, levels: Levels, clients: Sequence[str], server_round: int, left: int
) -> Levels:
    """Return the state with a level for each of a round's clients, in their order.

    `left` is how many updates the run will ask for from now on, this round's included: with a budget, a level
    is open only while the bytes left would do for it and for the cheapest level ever after.
    """
    if config.allocate == "fixed":
        return levels
    count = len(config.level_texts)
    worth = levels.worth or _nothing_known(count)
    sizes = _sizes(levels, count)
    asked, contexts = dict(levels.asked), dict(levels.contexts)
    rest = float(config.budget * (left + _answered(levels, worth)) - levels.spent)
    untried = [i for i in range(count) if not levels.sizes or not levels.sizes[i]]
    for place, client in enumerate(clients):
        context = _context(levels, client, server_round)
        reserve = min(sizes) * (left - place - 1)
        open_ = [i for i in range(count) if not config.budget or sizes[i] + reserve <= rest]
        open_ = open_ or [int(np.argmin(sizes))]
        if untried and untried[-1] in open_:
            open_ = [untried.pop()]  # one client each, the finest first: what a level costs has to be seen
        scores = [_hoped(worth, i, np.array(context)) - config.price * sizes[i] / max(sizes) for i in open_]
        level = open_[int(np.argmax(scores))]  # the first of equals
        asked[client], contexts[client] = level, context
        rest -= sizes[level]
    return replace(levels, asked=asked, contexts=contexts, worth=worth)


def observe(
    config: UplinkConfig, levels: Levels, server_round: int, replies: Iterable[tuple[Reply, int]]
) -> Levels:
    """Return the state after a round's usable replies, each with the bytes of its frame, by client."""
    heard = [(reply, size) for reply, size in replies if reply.samples > 0]
    if config.allocate == "fixed" or not heard:
        return levels
    mean = sum(reply.loss for reply, _ in heard) / len(heard)
    first = levels.first_loss or max(mean, 1e-9)
    losses, alarms = dict(levels.losses), dict(levels.alarms)
    sizes = list(levels.sizes or (0.0,) * len(config.level_texts))
    design, gains = levels.worth["design"].copy(), levels.worth["gains"].copy()
    for reply, size in heard:
        level, context = levels.asked[reply.client], np.array(levels.contexts[reply.client])
        design[level] += np.outer(context, context)
        gains[level] += _scaled(reply.loss, first) * reply.fidelity * context
        sizes[level] = FORGET * sizes[level] + (1 - FORGET) * size if sizes[level] else float(size)
        losses[reply.client] = reply.loss
        if reply.alarms:
            alarms[reply.client] = server_round
    return replace(
        levels,
        losses=losses,
        alarms=alarms,
        first_loss=first,
        last_loss=mean,
        sizes=tuple(sizes),
        spent=levels.spent + sum(size for _, size in heard),
        worth={"design": design, "gains": gains},
    )


def _nothing_known(count: int) -> dict[str, NDArray[np.float64]]:
    """Return the sums of a regression that believes finer levels to deliver more, the finest all there is."""
    gains = np.zeros((count, FEATURES))
    gains[:, 1] = RIDGE * np.arange(1, count + 1) / count
    return {
        "design": np.repeat(RIDGE * np.eye(FEATURES)[None], count, axis=0),
        "gains": gains,
    }


def _context(levels: Levels, client: str, server_round: int) -> tuple[float, ...]:
    """Return 1, the loss as a share of the first round's, its square, and whether the stream just changed."""
    first = levels.first_loss or 1.0
    mean = _scaled(levels.last_loss or first, first)
    loss = (_scaled(levels.losses[client], first) + mean) / 2 if client in levels.losses else mean
    alarmed = server_round - levels.alarms.get(client, -ALARM_ROUNDS - 1) <= ALARM_ROUNDS
    return 1.0, loss, loss**2, float(alarmed)


def _hoped(worth: Mapping[str, NDArray[np.float64]], level: int, context: NDArray[np.float64]) -> float:
    """Return the upper confidence bound of a level's worth in a context."""
    solved = np.linalg.solve(worth["design"][level], np.stack([worth["gains"][level], context], axis=1))
    return float(context @ solved[:, 0]) + OPTIMISM * math.sqrt(max(0.0, float(context @ solved[:, 1])))


def _sizes(levels: Levels, count: int) -> list[float]:
    """Return each level's bytes; of one that was never used in proportion to its place, by the others."""
    known = [size / (place + 1) for place, size in enumerate(levels.sizes) if size]
    step = sum(known) / len(known) if known else 1.0
    return [size or step * (place + 1) for place, size in enumerate(levels.sizes or (0.0,) * count)]


def _answered(levels: Levels, worth: Mapping[str, NDArray[np.float64]]) -> int:
    """Return how many updates have come: each adds 1 to its level's constant feature."""
    design = worth["design"]
    return round(float(design[:, 0, 0].sum()) - RIDGE * len(design))


def _scaled(loss: float, first: float) -> float:
    return min(max(loss / first, 0.0), MOST_LOSS)
