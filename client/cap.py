"""The cap on what a client keeps between two rounds: every byte counts, and replay takes what is left."""

from __future__ import annotations

from dataclasses import replace

from phloem.client.plain import to_plain
from phloem.client.replay import Buffer, shrink
from phloem.client.state import ClientState
from phloem.config import ClientConfig
from phloem.errors import ConfigError


def fit(state: ClientState, config: ClientConfig, seed: int, waiting: int = 0) -> ClientState:
    """Return the state with as much of its replay buffer as `client.replay_samples` and the cap allow.

    `waiting` bytes are kept elsewhere: samples whose labels have not come. `seed` is that of the buffer.

    Raises:
        ConfigError: what is left without a buffer is above the cap.
    """
    buffer = state.memory.buffer
    if buffer is not None and config.replay_samples:
        buffer = shrink(buffer, config.replay_samples, seed)
    if config.memory_bytes:
        bare = to_plain(_with(state, None))
        left = config.memory_bytes - bare.size_bytes - waiting
        if left < 0:
            parts = ", ".join(f"{name} {size}" for name, size in bare.sizes_bytes.items())
            raise ConfigError(
                f"`client.memory_bytes` should hold what a client has to keep. Found {config.memory_bytes} "
                f"for {bare.size_bytes + waiting} bytes: {parts}, waiting for labels {waiting}. Raise it, or "
                "choose a smaller model, a codec without `ef`, or no `ewc`."
            )
        if buffer is not None:
            empty = shrink(buffer, 0, seed)
            overhead = to_plain(_with(state, empty)).size_bytes - bare.size_bytes
            room = (left - overhead) // buffer.item_bytes
            buffer = shrink(buffer, room, seed) if room > 0 else None
    return _with(state, buffer)


def _with(state: ClientState, buffer: Buffer | None) -> ClientState:
    return replace(state, memory=replace(state.memory, buffer=buffer))
