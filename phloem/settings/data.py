"""The sections `data` and `model`: what is learned from, and what learns."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from phloem.settings.base import Fraction, Section, Sizes


class DataConfig(Section):
    """Where the samples come from and how they are spread over the clients."""

    source: str = "digits"
    """`digits`, `npz:PATH`, or the caller's own `module:function`."""
    partition: str = "dirichlet:0.3"
    """`iid`, `dirichlet:ALPHA`, `blocks`, or `natural[:ARRAY]`, by the ids in an array of the source."""
    clients: Annotated[int, Field(ge=0)] = 20
    """0 stands for as many as there are ids, with `natural`."""
    test_fraction: Fraction = 0.2
    validation_fraction: Fraction = 0.1
    proxy_fraction: Fraction = 0.1
    when_dry: Literal["repeat", "idle"] = "repeat"
    """What a client does when its stream has no new samples left."""


class ModelConfig(Section):
    """The network that is trained."""

    name: str = "mlp"
    """`mlp`, `cnn`, `gru`, `transformer`, `autoencoder`, `embedding`, or your own `module:function`."""
    hidden: Sizes = (128,)
    """Widths of the dense layers before the output; of an autoencoder, those on the way to its code."""
    channels: Sizes = (16, 32)
    width: Annotated[int, Field(ge=1)] = 64
    """Of a `gru` its state's, of a `transformer` or `embedding` a vector's."""
    layers: Annotated[int, Field(ge=1)] = 1
    """Of a `gru` or a `transformer`."""
    heads: Annotated[int, Field(ge=1)] = 4
    rows: Sizes = ()
    """Of an `embedding`: how many ids each column of the inputs has."""
