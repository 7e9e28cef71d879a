"""The sections `uplink` and `downlink`: how models travel."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, field_validator

from phloem.compression.codec import codec
from phloem.compression.ranking import MAGNITUDE
from phloem.errors import CodecError
from phloem.settings.base import Fraction, Section


def _known_codec(text: object) -> str:
    if not isinstance(text, str):
        raise ValueError("the text of a codec, such as 'fp16 | zstd'")
    try:
        return str(codec(text))
    except CodecError as error:
        raise ValueError(str(error)) from error  # pydantic adds where it stands; `from_tree` gives it back


CodecText = Annotated[str, BeforeValidator(_known_codec)]


class UplinkConfig(Section):
    """How a client's update is sent to the server."""

    codec: CodecText = "ef | rdo:bpp=0.25"


class DownlinkConfig(Section):
    """How the global model is sent to the clients."""

    codec: CodecText = "rdo:bpp=0.3"
    """For the step from the model a client holds to the global one; what it leaves out is in the next."""
    anchor: CodecText = "rdo:bpp=4"
    """For the model in full, to a client that holds none."""
    error: Fraction = 0.05
    """How far a client's model may be from the global one, as a share of its l2 norm, where `codec` is `rdo`:
    a step then takes the bytes it needs, not more; 0 leaves it to the codec's own target."""
    held_models: Annotated[int, Field(ge=1)] = 1000
    """How many different models the server remembers; a client whose model is forgotten gets it in full."""

    @field_validator("codec", "anchor")
    @classmethod
    def _for_a_server(cls, text: str) -> str:
        if codec(text).feedback is not None:
            raise ValueError("a codec without `ef`: what a step leaves out is in the next one anyway")
        if codec(text).ranked_by != MAGNITUDE:
            raise ValueError("a codec that ranks by magnitude: a server has no samples to ask what matters")
        return text
