"""How much a channel says about the class: I(A; Y), estimated by histograms.

I(A; Y) = sum_{a, y} p(a, y) log(p(a, y) / (p(a) p(y))), where A is the channel's mean activation in
equally filled bins. It looks at each channel alone, so two copies of a good channel both score high.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from phloem.server.shrink.network import predict, weighty

BINS = 8


class MutualInformation:
    """Scores the channels of a group of layers by the first layer's activations on some inputs."""

    def __init__(self, network: nn.Module, inputs: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
        """Run the inputs through and keep each layer's mean activation a channel, after a ReLU."""
        self._scores: dict[nn.Module, torch.Tensor] = {}
        seen: dict[nn.Module, list[torch.Tensor]] = {}

        def keep(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
            seen.setdefault(module, []).append(
                output.relu().flatten(2).mean(2) if output.ndim > 2 else output.relu()
            )

        hooks = [layer.register_forward_hook(keep) for layer in weighty(network).values()]
        try:
            predict(network, inputs)
        finally:
            for hook in hooks:
                hook.remove()
        for module, parts in seen.items():
            activations = torch.cat(parts).numpy()
            scores = [mutual_information(column, labels) for column in activations.T]
            self._scores[module] = torch.tensor(scores)

    def __call__(self, group: Any) -> torch.Tensor:
        """Return a score a channel; a layer that never ran has all channels equal."""
        root, channels = group[0]
        scores = self._scores.get(root.target.module)
        return torch.ones(len(channels)) if scores is None else scores[torch.tensor(channels)]


def mutual_information(values: NDArray[np.float32], labels: NDArray[np.int64], bins: int = BINS) -> float:
    """Return I(values; labels) in nats, with the values in `bins` equally filled bins.

    0 where the values do not vary; at most the entropy of the labels.
    """
    borders = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1]))
    binned = np.searchsorted(borders, values, side="right")
    joint = np.zeros((len(borders) + 1, int(labels.max()) + 1))
    np.add.at(joint, (binned, labels), 1)
    joint /= joint.sum()
    independent = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    there = joint > 0
    return float((joint[there] * np.log(joint[there] / independent[there])).sum())
