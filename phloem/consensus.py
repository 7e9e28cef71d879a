"""What is exchanged where clients have networks of their own: logits on public samples, as an update.

    network ─ logits on the proxy ─ spoken ─> {"logits": (proxy, classes)} ─ softened ─> what to imitate

All have the same proxy samples, and the tensor's name says which: a device with others has another schema, so
the greeting finds out. D. Li, J. Wang, "FedMD", 2019, arXiv 1910.03581; S. Itahara et al., "DS-FL", 2020,
arXiv 2008.06180.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from phloem.compression.update import Schema, TensorSpec, Update
from phloem.config import Experiment
from phloem.errors import ConfigError
from phloem.sources import open_federation

LARGEST_LOGIT = 10.0
"""Beyond it a logit is cut: odds of e^20 between two classes say all there is to say."""


def proxy_of(experiment: Experiment) -> NDArray[np.float32]:
    """Return the inputs `(n, ...)` that everybody is asked about; the same wherever the settings are.

    Raises:
        ConfigError: there are none.
    """
    exchange, seed = experiment.exchange, experiment.run.seed
    if exchange.proxy:
        proxy = open_federation(experiment.data.of_one_device(exchange.proxy), seed).shares[0].x
    else:
        proxy = open_federation(experiment.data, seed).proxy
    if not len(proxy):
        raise ConfigError(
            "`exchange.kind = 'logits'` needs proxy samples, which everybody has. Found none: raise "
            "`data.proxy_fraction`, or name a source of them as `exchange.proxy`."
        )
    return proxy[: exchange.samples or len(proxy)]


def consensus_schema(proxy: NDArray[np.float32], classes: int) -> Schema:
    """Return the schema of logits on these very samples."""
    mark = hashlib.sha256(np.ascontiguousarray(proxy, "<f4").tobytes()).hexdigest()[:16]
    return Schema((TensorSpec(f"logits.{mark}", (len(proxy), classes)),))


def silence(schema: Schema) -> dict[str, NDArray[np.float32]]:
    """Return the first version: zeros, by which nobody has said anything."""
    return {tensor.name: np.zeros(tensor.shape, np.float32) for tensor in schema.tensors}


def spoken(schema: Schema, logits: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Return logits as they travel: each row's mean is 0, which softmax does not see, and none is too large.

    A network that diverged says NaN, which no codec encodes.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        centred = logits - logits.mean(axis=1, keepdims=True)
    [tensor] = schema.tensors
    return {tensor.name: np.clip(centred, -LARGEST_LOGIT, LARGEST_LOGIT).astype(np.float32)}


def softened(consensus: Update, temperature: float) -> NDArray[np.float32]:
    """Return the predictions that logits stand for, at a temperature: rows that sum to 1."""
    [logits] = consensus.values()
    scaled = logits.astype(np.float64) / temperature
    exponentials = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True), np.float32)
