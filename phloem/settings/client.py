"""The section `client`: what a device does in a round."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from phloem.settings.base import Fraction, NotNegative, Positive, Section


class ClientConfig(Section):
    """What a client does in a round."""

    samples_per_round: Annotated[int, Field(ge=1)] = 32
    epochs: Annotated[int, Field(ge=1)] = 4
    batch_size: Annotated[int, Field(ge=1)] = 16
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: Positive = 0.3
    momentum: Fraction = 0.0
    weight_decay: NotNegative = 0.0
    proximal: NotNegative = 0.0
    """mu of the FedProx term mu/2 |w - w_global|^2; 0 leaves it out."""
    device: str = "cpu"
