"""Masks on the wire: which channels a narrower network has, in a few bytes.

Four bytes a hidden layer where its channels are a window, as all that `submodel.choice` makes but `norm` are;
else one bit a channel.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from phloem.errors import ConfigError, ProtocolError
from phloem.submodel import Layout, Submodel

WINDOWS, BITS = b"w", b"b"
MOST_CHANNELS = 2**16 - 1
_WINDOW = struct.Struct("<HH")


def write_mask(submodel: Submodel) -> bytes:
    """Return the mask of a submodel."""
    wholes = [whole for _, whole in submodel.layout.channels]
    windows = [_window_of(kept, whole) for kept, whole in zip(submodel.kept, wholes, strict=True)]
    if None not in windows:
        return WINDOWS + b"".join(_WINDOW.pack(*found) for found in windows if found is not None)
    bits = [np.isin(np.arange(whole), kept) for kept, whole in zip(submodel.kept, wholes, strict=True)]
    return BITS + np.packbits(np.concatenate(bits)).tobytes()


@lru_cache(maxsize=1024)
def read_mask(data: bytes, layout: Layout) -> Submodel:
    """Return the submodel whose mask this is; `layout`, nothing in `data`, says how many channels there are.

    Raises:
        ProtocolError: it is no mask for this layout.
    """
    wholes = [whole for _, whole in layout.channels]
    kept: list[tuple[int, ...]] = []
    if data[:1] == WINDOWS and len(data) == 1 + _WINDOW.size * len(wholes):
        for (count, start), whole in zip(_WINDOW.iter_unpack(data[1:]), wholes, strict=True):
            kept.append(window(min(count, whole), start, whole))
    elif data[:1] == BITS and len(data) == 1 + math.ceil(sum(wholes) / 8):
        bits = np.unpackbits(np.frombuffer(data[1:], np.uint8))[: sum(wholes)]
        kept = [tuple(np.flatnonzero(part).tolist()) for part in np.split(bits, np.cumsum(wholes)[:-1])]
    found = Submodel(layout, tuple(kept))
    if not kept or not all(kept) or write_mask(found) != data:
        raise ProtocolError(
            f"A mask should name some channels of each of the {len(wholes)} hidden layers. Found "
            f"{data[:32].hex() or 'nothing'}. Install the same version of phloem on server and client."
        )
    return found


def window(count: int, start: int, whole: int) -> tuple[int, ...]:
    """Return `count` channels from `start` on, the first ones after the last, in rising order."""
    return tuple(sorted((start + i) % whole for i in range(count)))


def check_layout(layout: Layout) -> Layout:
    """Return the layout if a network can be cut by it and the cut be said.

    Raises:
        ConfigError: there is no hidden layer, or one is too wide.
    """
    widest = max((whole for _, whole in layout.channels), default=0)
    if not 0 < widest <= MOST_CHANNELS:
        raise ConfigError(
            f"A network that clients have parts of should have hidden layers of at most {MOST_CHANNELS} "
            f"channels. Found {widest or 'no hidden layer'}. Change `model.hidden`, or set "
            "`submodel.widths` to 1."
        )
    return layout


def _window_of(kept: Sequence[int], whole: int) -> tuple[int, int] | None:
    """Return the count and the start of the window that these channels are; None where they are none."""
    if len(kept) == whole:
        return whole, 0
    present = set(kept)
    starts = [channel for channel in kept if (channel - 1) % whole not in present]
    return (len(kept), starts[0]) if len(starts) == 1 else None
