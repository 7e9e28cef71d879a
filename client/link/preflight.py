"""What a device can do, before it is asked to: connect, train, hold it all in memory, code an update.

Nothing is sent but a greeting and fillers, nothing is kept; the server may go on with its run meanwhile.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from phloem.client.journal import Journal
from phloem.client.link.enrol import Membership
from phloem.client.link.join import JOURNAL
from phloem.client.link.node import Node
from phloem.client.link.probe import Throughput
from phloem.client.link.session import Device, Patience
from phloem.client.peer import network_for, open_peer
from phloem.compression.codec import EMPTY, codec
from phloem.compression.update import subtract
from phloem.config import Experiment, from_flat
from phloem.errors import RunError
from phloem.learning import open_learner
from phloem.seeds import derive
from phloem.sources import open_federation

BATCHES = (8, 16, 32, 64)
CODECS = ("dense | zstd", "fp16 | zstd", "rdo:bpp=1", "rdo:bpp=0.25")
REPEATS = 3


@dataclass(frozen=True)
class Preflight:
    """What was measured here, and what follows from it."""

    connect_seconds: float
    """From nothing to the server's welcome, TLS included."""
    samples_per_second: Mapping[int, float]
    """Trained, by batch size."""
    update_bytes: Mapping[str, int]
    """Size of a real update, by codec."""
    encode_seconds: Mapping[str, float]
    memory_mb: float
    batch_size: int
    """The smallest that is nearly as fast as the fastest: small batches learn more from each sample."""
    codec: str
    """What the run uses already, if its update is within a tenth of the smallest here; else the smallest."""
    link: Throughput | None = None
    """How fast the link is; None where the server does not say."""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)


async def look(member: Membership, folder: Path, own: Mapping[str, Any]) -> Preflight:
    """Connect once, then measure with the run's own settings and this device's own data.

    Raises:
        RunError: the server refused this device, or the settings are not those of phloem's own app.
        ConfigError: the data or the model cannot be had here.
    """
    with Journal(folder / JOURNAL) as journal:
        node = Node(_no_app, journal, own)
        began = time.perf_counter()
        device = Device(node, member, Patience())
        await device.greet()
        connected = time.perf_counter() - began
        speed = await device.greet(probe=True)
    context = node.context
    experiment = from_flat(dict(context.run_config))
    partition = context.node_config.get("partition-id")
    client = partition if isinstance(partition, int) else 0
    return replace(measure(experiment, str(own.get("data", "")), connected, client), link=speed)


def measure(experiment: Experiment, own: str, connect_seconds: float, client: int = 0) -> Preflight:
    """Time training and coding here, with this device's own data or else with some of the run's."""
    data = experiment.data.of_one_device(own) if own else experiment.data
    federation = open_federation(data, experiment.run.seed)
    learner = open_learner(
        network_for(experiment, client), federation.input_shape, federation.classes, experiment.client.device
    )
    peer = open_peer(experiment, learner)
    first = learner.initial(derive(experiment.run.seed, "model"))
    share = federation.shares[0]
    if not len(share):
        raise RunError(
            "A device should have a sample to try with. Found none yet: begin when there are some."
        )
    rates, delta = {}, None
    for batch in BATCHES:
        config = experiment.client.model_copy(update={"batch_size": batch, "epochs": 1})
        samples = share.take(np.arange(4 * batch) % len(share))
        trained = learner.learn(first, samples, config, seed=1)
        if delta is None:
            said = trained if peer is None else peer.says(trained, samples.y)
            delta = subtract(said, first if peer is None else peer.first())
        best = float("inf")
        for _ in range(REPEATS):
            began = time.perf_counter()
            learner.learn(first, samples, config, seed=1)
            best = min(best, time.perf_counter() - began)
        rates[batch] = len(samples) / best
    assert delta is not None
    sizes, seconds = {}, {}
    for text in dict.fromkeys((experiment.uplink.codec, *CODECS)):
        chosen = codec(text)
        chosen.encode(delta, EMPTY, seed=1)  # compiled, once
        began = time.perf_counter()
        blob, _ = chosen.encode(delta, EMPTY, seed=1)
        sizes[text], seconds[text] = len(blob), time.perf_counter() - began
    fastest, least = max(rates.values()), min(sizes.values())
    now = experiment.uplink.codec
    scale = 1e6 if sys.platform == "darwin" else 1e3 / 1.024  # ru_maxrss: bytes there, KiB here
    return Preflight(
        connect_seconds=connect_seconds,
        samples_per_second=rates,
        update_bytes=sizes,
        encode_seconds=seconds,
        memory_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale,
        batch_size=next(batch for batch, rate in rates.items() if rate >= 0.8 * fastest),
        codec=now if sizes[now] <= 1.1 * least else min(sizes, key=lambda text: sizes[text]),
    )


def _no_app(*_: object) -> Any:
    raise RunError("A preflight answers no tasks.")
