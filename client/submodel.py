"""The device as it is in a round that gives it a part of the network: everything in it is of that part."""

from __future__ import annotations

from dataclasses import replace

from phloem.client.round import Device
from phloem.client.state import ClientState
from phloem.compression.update import Schema
from phloem.errors import ProtocolError
from phloem.masks import read_mask


def part_of(device: Device, mask: bytes, state: ClientState) -> Device:
    """Return the device with the narrower network of this mask; an empty one is the whole network.

    The first version is made whole and then cut: for that moment its weights are all there, and nothing else.

    Raises:
        ProtocolError: it is no mask for this model, or the client's state is of another network.
    """
    if not mask:
        return device
    submodel, whole = read_mask(mask, device.learner.layout), device.first
    learner = device.learner.part(submodel, scaled=device.scaled)
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
