"""Structured pruning: whole channels go, and with them what other layers would have made of them.

`torch-pruning` finds which weights hang together (Fang et al. 2023, DepGraph, arXiv 2301.12900). Removing
a share p of every layer's channels leaves about (1 - p)^2 of the multiplications, not 1 - p: a layer
loses outputs and inputs.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch_pruning as tp
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from phloem.errors import ConfigError
from phloem.seeds import derive
from phloem.server.shrink.information import MutualInformation
from phloem.server.shrink.network import NORMS, predict, reproducible, weighty

RANKINGS = ("l2", "taylor", "bn", "information", "random")
"""What decides which channels go: the weights' l2 norm; |gradient x weight|, the first-order change of the
loss (Molchanov et al. 2019); batch normalisation's scale (Liu et al. 2017); what a channel says about the
class; chance."""

ROUNDING = 1e-9


def pruned(
    network: nn.Module,
    share: float | Mapping[str, float],
    inputs: NDArray[np.float32],
    ranking: str = "l2",
    *,
    seed: int = 0,
) -> nn.Module:
    """Return a smaller copy without a share of the channels in each layer, or a share for each layer's name.

    The output layer keeps its classes, every layer one channel at least. The copy needs lessons: what is
    left was trained beside what is gone. `inputs` are what rankings that look at data look at.

    Raises:
        ConfigError: a share outside 0..1, or a ranking that is unknown or finds nothing to rank.
    """
    shares = dict(share) if isinstance(share, Mapping) else {"": share}
    wrong = [value for value in shares.values() if not 0 <= value < 1]
    if wrong:
        raise ConfigError(
            f"The share of channels to remove should be in 0..1, below 1. Found {wrong[0]}. Use 0.3, say."
        )
    smaller = copy.deepcopy(network).eval()
    layers = weighty(smaller)
    head = _last_layer(smaller, layers, inputs[:1])
    by_layer = {
        layer: _below_all(shares.get(name, shares.get("", 0.0)), layer) for name, layer in layers.items()
    }
    example = torch.tensor(inputs[:2])
    for parameter in smaller.parameters():
        parameter.requires_grad_(True)
    with reproducible(derive(seed, "channels")):
        importance = _importance(smaller, inputs, ranking)
        try:
            tp.pruner.BasePruner(
                smaller,
                example,
                importance=importance,
                pruning_ratio=0.0,
                pruning_ratio_dict=by_layer,
                ignored_layers=[head],
            ).step()
            smaller.eval()(example)
        except Exception as error:  # whatever a user's own network makes the library, or itself, raise
            raise ConfigError(
                "The model should be one whose channels can be traced from layer to layer. Found "
                f"{type(error).__name__}: {str(error).splitlines()[:1]}. Leave out the share of channels."
            ) from error
    for parameter in smaller.parameters():
        parameter.grad = None
    return smaller.eval()


def _importance(
    network: nn.Module, inputs: NDArray[np.float32], ranking: str
) -> Callable[[Any], torch.Tensor]:
    """Return what scores the channels of a group of layers that lose them together."""
    if ranking == "l2":
        return _called(tp.importance.GroupMagnitudeImportance(p=2))
    if ranking == "random":
        return _called(tp.importance.RandomImportance())
    if ranking == "taylor":
        logits = network(torch.tensor(inputs))
        # Its own answers stand in for labels: softened, or a sure network's gradient would vanish.
        wanted = functional.softmax(logits.detach() / 2, dim=1)
        functional.cross_entropy(logits, wanted).backward()  # type: ignore[no-untyped-call]
        return _called(tp.importance.GroupTaylorImportance())
    if ranking == "bn":
        if not any(isinstance(module, NORMS) for module in network.modules()):
            raise ConfigError(
                "The ranking 'bn' needs batch normalisation. Found none in the model. Use 'l2' or 'taylor'."
            )
        return _called(tp.importance.BNScaleImportance())
    if ranking == "information":
        return MutualInformation(network, inputs, predict(network, inputs).argmax(1))
    raise ConfigError(f"The ranking of channels should be one of {', '.join(RANKINGS)}. Found {ranking!r}.")


def _called(importance: Any) -> Callable[[Any], torch.Tensor]:
    """Return the library's importance; where a group has no layer that it knows, all channels are equal."""

    def scores(group: Any) -> torch.Tensor:
        found = importance(group)
        return torch.ones(len(group[0][1])) if found is None else found

    return scores


def _below_all(share: float, layer: nn.Module) -> float:
    """Return the share, but for one channel that stays, so that rounding down leaves what it says.

    The library leaves a layer whole that would lose all channels, and 1 - 0.8 is a little below 0.2.
    """
    return max(0.0, min(share, 1 - 1 / len(layer.get_parameter("weight"))) - ROUNDING)


def _last_layer(network: nn.Module, layers: Mapping[str, nn.Module], x: NDArray[np.float32]) -> nn.Module:
    """Return the layer that ran last: the one whose outputs are the classes."""
    ran: list[nn.Module] = []
    hooks = [layer.register_forward_hook(lambda m, i, o: ran.append(m)) for layer in layers.values()]
    try:
        predict(network, x)
    finally:
        for hook in hooks:
            hook.remove()
    if not ran:
        raise ConfigError(
            "Channels are removed from convolutions and linear layers. Found none in the model. "
            "Leave out the share of channels."
        )
    return ran[-1]
