"""The data set `tinyshakespeare`: which character comes next? 309 speakers of 65 symbols (Karpathy 2015).

An input is the codes, 0 to 64, of `data.window` characters; the label is the code of the one after them. Of
each speaker the speeches are joined in the order of the plays and cut into windows that begin a quarter of
a window apart. The first line of a speech is the name, which would give the client away: it is left out.
Names that differ in case only are one speaker. Natural clients: `speaker`, those with 1000 characters or
more; the test is the last part of each, so that every speaker is on both sides.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from phloem.config import DataConfig
from phloem.errors import DataError
from phloem.simulation.data.loaders import natural_ids
from phloem.simulation.data.npz import load_set
from phloem.simulation.data.table import Table

LEAST = 1000  # characters of a speaker
NEWLINE = 10


def load_tinyshakespeare(path: str, data: DataConfig, ids_name: str | None) -> Table:
    """Read the archive with `text`, `utterance_start`, `speaker` and `speaker_names`.

    Raises:
        DataError: the file is missing or another one, or no speaker has text enough.
    """
    arrays = load_set(path, "tinyshakespeare", ("text", "utterance_start", "speaker", "speaker_names"))
    natural_ids("tinyshakespeare", ids_name, {"speaker": None})
    text = arrays["text"]
    symbols = np.unique(text)
    spoken = dict(speeches(text, arrays["utterance_start"], arrays["speaker"], arrays["speaker_names"]))
    parts = {name: windows(np.searchsorted(symbols, said), data.window) for name, said in spoken.items()}
    parts = {name: part for name, part in parts.items() if len(spoken[name]) >= LEAST and len(part[1])}
    if not parts:
        raise DataError(
            f"{path} should have a speaker with {LEAST} characters, more than `data.window`, {data.window}. "
            "Found none. Shorten the window, or name another file."
        )
    names = sorted(parts)
    return Table(
        np.concatenate([parts[name][0] for name in names]),
        np.concatenate([parts[name][1] for name in names]),
        ids=np.repeat(names, [len(parts[name][1]) for name in names]),
        ordered=True,
        hold_out="time",
        inputs="symbols",
        class_count=len(symbols),
        class_names=tuple(repr(chr(symbol))[1:-1] for symbol in symbols),
    )


def speeches(
    text: NDArray[np.uint8], starts: NDArray[np.int32], speaker: NDArray[np.uint16], names: NDArray[np.str_]
) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Yield each speaker, in capitals, with all that is said, without the lines that name the speaker."""
    said: dict[str, list[NDArray[np.uint8]]] = {}
    for utterance, who in zip(np.split(text, starts[1:]), speaker, strict=True):
        name_line = np.flatnonzero(utterance == NEWLINE)[:1]
        body = utterance[name_line[0] + 1 :] if len(name_line) else utterance[:0]
        said.setdefault(str(names[who]).upper(), []).append(body)
    for name, bodies in said.items():
        yield name, np.concatenate(bodies)


def windows(codes: NDArray[np.intp], length: int) -> tuple[NDArray[np.int16], NDArray[np.int64]]:
    """Return windows `(n, length)` a quarter of their length apart, and the code after each `(n,)`."""
    if len(codes) <= length:
        return np.zeros((0, length), np.int16), np.zeros(0, np.int64)
    starts = np.arange(0, len(codes) - length, max(1, length // 4))
    every = np.lib.stride_tricks.sliding_window_view(codes.astype(np.int16), length)
    return every[starts], codes[starts + length].astype(np.int64)
