"""How much a value or a channel matters, measured on a batch: what a codec ranks by that asks for it.

P. Molchanov et al., "Pruning convolutional neural networks for resource efficient inference", ICLR 2017: to
first order the loss changes by |gradient x value| if a value is left out. T. M. Cover and J. A. Thomas,
"Elements of information theory", for mutual information: what a channel says about the label, however it says
it. It does not see that two channels may say the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from phloem.client.models.build import weights_of
from phloem.client.threads import one_thread
from phloem.compression.ranking import INFORMATION
from phloem.compression.update import Update
from phloem.errors import ConfigError
from phloem.sources import Samples

BINS = 16
"""Into so many intervals, equally full, a channel's activations are sorted."""

MOST_SAMPLES = 512
"""Of a round's samples the last ones are enough to rank by."""

Layer = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d

Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""The mean loss, of outputs, inputs and labels."""


def measure(module: nn.Module, samples: Samples, values: Update, loss: Loss, by: str) -> Update:
    """Return the importance of `values`, which the module's weights hold, as a codec asks for it by name.

    Raises:
        ConfigError: there are no samples.
    """
    few = samples.take(slice(max(0, len(samples) - MOST_SAMPLES), len(samples)))
    return mutual_information(module, few) if by == INFORMATION else taylor(module, few, values, loss)


def taylor(
    module: nn.Module, samples: Samples, values: Update | None = None, loss: Loss | None = None
) -> dict[str, NDArray[np.float32]]:
    """Return |gradient x value| for every value, in the shapes of the module's weights.

    `values` is what would be left out: an update, or the weights themselves if None; `loss` is the
    cross-entropy if None. What has no gradient, such as a running statistic, has no importance.

    Raises:
        ConfigError: there are no samples.
    """
    _check(samples)
    values = weights_of(module) if values is None else values
    device = next(module.parameters()).device
    names = [name for name, parameter in module.named_parameters() if parameter.requires_grad]
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    with one_thread(), torch.enable_grad(), _evaluating(module):
        x, y = torch.tensor(samples.x, device=device), torch.tensor(samples.y, device=device)
        outputs = module(x)
        missed = functional.cross_entropy(outputs, y) if loss is None else loss(outputs, x, y)
        gradients = torch.autograd.grad(missed, parameters, materialize_grads=True)
    found = {name: np.zeros(tensor.shape, np.float32) for name, tensor in values.items()}
    for name, gradient in zip(names, gradients, strict=True):
        found[name] = np.asarray(np.abs(gradient.cpu().numpy() * values[name]))
    return found


def mutual_information(
    module: nn.Module, samples: Samples, bins: int = BINS
) -> dict[str, NDArray[np.float32]]:
    """Return what each output channel says about the label, in nats, in the shapes of the module's weights.

    All values of a channel of a linear or convolutional layer, and its bias, have the channel's importance;
    other tensors have none.

    Raises:
        ConfigError: there are no samples, or fewer than two bins.
    """
    found = {name: np.zeros(tensor.shape, np.float32) for name, tensor in weights_of(module).items()}
    for layer, activations in _activations(module, samples).items():
        scores = information(activations, samples.y, bins)
        for name in (f"{layer}.weight", f"{layer}.bias"):
            if name in found:
                each = scores.reshape(-1, *[1] * (found[name].ndim - 1))
                found[name] = np.broadcast_to(each, found[name].shape).astype(np.float32)
    return found


def information(
    activations: NDArray[np.float32], labels: NDArray[np.int64], bins: int = BINS
) -> NDArray[np.float64]:
    """Return I(A; Y) in nats for each column of activations `(n, channels)`, at least 0.

    The sum over intervals a and labels y of p(a, y) log(p(a, y) / (p(a) p(y))), less what chance alone gives
    at so few samples (Miller and Madow's correction).

    Raises:
        ConfigError: there are fewer than two bins.
    """
    if bins < 2:
        raise ConfigError(f"`bins` should be 2 or more. Found {bins}. Use {BINS}.")
    n, channels = activations.shape
    _, labels = np.unique(labels, return_inverse=True)
    classes = int(labels.max()) + 1
    intervals = np.empty((n, channels), np.int64)
    shares = np.linspace(0, 1, bins + 1)[1:-1]
    for channel, column in enumerate(activations.T):
        borders = np.unique(np.quantile(column, shares, method="inverted_cdf"))
        intervals[:, channel] = np.searchsorted(borders, column, side="left")
    cells = (np.arange(channels) * bins + intervals) * classes + labels[:, None]
    counts = np.bincount(cells.ravel(), minlength=channels * bins * classes)
    joint = counts.reshape(channels, bins, classes) / n
    by_interval, by_label = joint.sum(axis=2, keepdims=True), joint.sum(axis=1, keepdims=True)
    apart = by_interval * by_label
    ratio = np.divide(joint, apart, out=np.ones_like(joint), where=joint > 0)
    used = np.count_nonzero(by_interval, axis=1)[:, 0]
    chance = (used - 1) * (classes - 1) / (2 * n)
    found: NDArray[np.float64] = np.maximum((joint * np.log(ratio)).sum(axis=(1, 2)) - chance, 0.0)
    return found


def _activations(module: nn.Module, samples: Samples) -> dict[str, NDArray[np.float32]]:
    """The outputs `(n, channels)` of every linear and convolutional layer, averaged over positions."""
    _check(samples)
    found: dict[str, NDArray[np.float32]] = {}

    def keep(name: str, channel_axis: int, output: torch.Tensor) -> None:
        ahead = output.movedim(channel_axis, 1)
        found[name] = ahead.reshape(*ahead.shape[:2], -1).mean(dim=2).cpu().numpy()

    handles = []
    for name, layer in module.named_modules():
        if isinstance(layer, Layer):
            axis = -1 if isinstance(layer, nn.Linear) else 1
            handles.append(
                layer.register_forward_hook(
                    lambda _layer, _inputs, output, name=name, axis=axis: keep(name, axis, output)
                )
            )
    device = next(module.parameters()).device
    try:
        with one_thread(), torch.no_grad(), _evaluating(module):
            module(torch.tensor(samples.x, device=device))
    finally:
        for handle in handles:
            handle.remove()
    return found


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Switch dropout off and statistics to those that were learned; afterwards all is as it was."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def _check(samples: Samples) -> None:
    if not len(samples):
        raise ConfigError("Importance should be measured on samples. Found none. Hand in a batch.")
