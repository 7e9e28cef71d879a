"""The sections `uplink` and `downlink`: how models travel."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from phloem.compression.codec import codec
from phloem.compression.ranking import MAGNITUDE
from phloem.errors import CodecError
from phloem.settings.base import Fraction, NotNegative, Section


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
    allocate: Literal["fixed", "bandit"] = "fixed"
    """Whether every update is sent in `codec`, or each in that of `levels` which a bandit chooses."""
    levels: str = ""
    """Codecs from coarse to fine, with `;` between them: `ef | rdo:bpp=0.06; ef | rdo:bpp=0.25`."""
    price: NotNegative = 0.1
    """What the bytes of the largest level cost the bandit, where delivering all of an update at the first
    round's loss is worth 1."""
    budget: Annotated[int, Field(ge=0)] = 0
    """Bytes that an update may take on average over the run, with `bandit`; 0 for no limit."""

    @property
    def level_texts(self) -> tuple[str, ...]:
        """The levels one by one."""
        return tuple(part.strip() for part in self.levels.split(";") if part.strip())

    @field_validator("levels")
    @classmethod
    def _known_levels(cls, text: str) -> str:
        return "; ".join(_known_codec(part) for part in text.split(";") if part.strip())

    @model_validator(mode="after")
    def _levels_to_choose_from(self) -> Self:
        if self.allocate == "bandit" and len(self.level_texts) < 2:
            raise ValueError(
                f"'uplink.levels' should name two codecs at least, for 'uplink.allocate' to choose from. "
                f"Found {len(self.level_texts)}. Write them with a `;` between."
            )
        kept = {str(codec(text).feedback) for text in self.level_texts}
        if len(kept) > 1:
            raise ValueError(
                "'uplink.levels' should all keep what they leave out in one way, or it is lost where the "
                f"level changes. Found {sorted(kept)}. Begin each with the same `ef`, or none."
            )
        return self


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
