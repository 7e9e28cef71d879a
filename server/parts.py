"""Which part of the network a client has: chosen when it is first asked, the same for the rest of the run.

What is left out of its updates, and what the server knows it to hold, belong to these channels: with others
both would be lost, and the new part be sent in full.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from phloem.compression.update import Update
from phloem.masks import window, write_mask
from phloem.server.holdings import Holdings
from phloem.server.state import Setting
from phloem.settings.submodel import SubmodelConfig
from phloem.submodel import Layout, Submodel, channels_of
from phloem.summary import WIDTH_FACT


def assign(
    held: Holdings, clients: Iterable[str], config: SubmodelConfig, layout: Layout, model: Update
) -> Holdings:
    """Return the holdings in which each of these clients has its part, of the global `model` as it is now."""
    for client in clients:
        if client not in held.masks:
            part = part_for(client, config, layout, model)
            held = held.give(client, part, b"" if part is None else write_mask(part))
    return held


def part_for(client: str, config: SubmodelConfig, layout: Layout, model: Update) -> Submodel | None:
    """Return a client's part of the network; None for all of it."""
    width, turn = width_of(client, config)
    if width == 1:
        return None
    kept = []
    for depth, (layer, whole) in enumerate(layout.channels):
        count = channels_of(width, whole)
        if config.choice == "norm":
            longest = np.argsort(-_norms(layer, whole, layout, model), kind="stable")[:count]
            kept.append(tuple(sorted(longest.tolist())))
            continue
        # From one layer to the next another window, in turn, so that all pairs of windows meet.
        place = turn + depth * (turn // math.ceil(whole / count))
        kept.append(window(count, place * count if config.choice == "rolling" else 0, whole))
    return Submodel(layout, tuple(kept))


def width_of(client: str, config: SubmodelConfig) -> tuple[float, int]:
    """Return a client's width, and how many clients before it, counted from 0, have the same."""
    number = int(client) if client.isdecimal() else crc32(client.encode())
    rounds, place = divmod(number, len(config.widths))
    width = config.widths[place]
    return width, rounds * config.widths.count(width) + config.widths[:place].count(width)


def told(setting: Setting, model: Update) -> dict[str, str]:
    """Return, for the ledger, each width's share of the parameters and the accuracy of that part of `model`.

    Where clients of a width have different parts it is that of the first of them.
    """
    config, test, found = setting.experiment.submodel, setting.federation.test, {}
    for width in sorted(set(config.widths)) if not config.whole else ():
        part = part_for(str(config.widths.index(width)), config, setting.learner.layout, model)
        scores = setting.network(part).score(model if part is None else part.narrow(model), test)
        share = 1.0 if part is None else part.share
        found[f"{WIDTH_FACT}{width:g}"] = f"{share:.4f} {scores.accuracy:.4f}"
    return found


def _norms(layer: str, whole: int, layout: Layout, model: Update) -> NDArray[np.float64]:
    """Return the length of each channel over all weights that come and go with it."""
    squares = np.zeros(whole)
    for tensor, axes in zip(layout.schema.tensors, layout.axes, strict=True):
        for place, axis in enumerate(axes):
            if axis is not None and axis.layer == layer:
                rows = np.moveaxis(np.square(model[tensor.name], dtype=np.float64), place, 0)
                squares += rows.reshape(whole, -1).sum(1)
    return np.sqrt(squares)
