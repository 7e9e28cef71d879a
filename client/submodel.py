"""The device as it is in a round that gives it a part of the network: everything in it is of that part."""

from __future__ import annotations

from dataclasses import replace

from phloem.client.round import Device
from phloem.client.state import ClientState
from phloem.compression.update import Schema
from phloem.errors import ProtocolError
from phloem.masks import read_mask
from phloem.submodel import Sizes, Submodel, all_of, channels_of


def part_of(device: Device, mask: bytes, state: ClientState) -> Device:
    """Return the device with the narrower network of this mask; an empty one is the whole network.

    The first version is made whole and then cut: for that moment its weights are all there, and nothing else.
    Where widths are nested, the narrower networks within the device's own learn in turn with it.

    Raises:
        ProtocolError: it is no mask for this model, or the client's state is of another network.
    """
    if not mask and len(device.inner_widths) < 2:
        return device
    layout, whole = device.learner.layout, device.first
    submodel = read_mask(mask, layout) if mask else all_of(layout)
    learner = device.learner.part(submodel, _inner(device, submodel))
    if learner.schema != submodel.schema:
        raise ProtocolError(
            f"A mask should give layers that belong together as many channels. Found {submodel.sizes}."
        )
    if state.model is not None and Schema.of(state.model) != submodel.schema:
        raise ProtocolError(
            "A client should be given the same part of the network in every round of a run. Found another. "
            "Begin a new run, or take away what the client keeps."
        )
    return replace(device, learner=learner, first=lambda: submodel.narrow(whole()))


def _inner(device: Device, submodel: Submodel) -> tuple[Sizes, ...]:
    """Return the networks of the device's widths that lie within its own, which is one of them."""
    own, wholes = submodel.sizes, submodel.layout.channels
    each = [
        tuple((layer, channels_of(width, whole)) for layer, whole in wholes) for width in device.inner_widths
    ]
    return tuple(sizes for sizes in each if all(count <= own[layer] for layer, count in sizes))
