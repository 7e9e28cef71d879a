"""The section `submodel`: which clients have only a part of the network, and which part."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from phloem.settings.base import Section


def _numbers(value: object) -> object:
    """Flower's run-config knows no lists: `"1,0.5"` stands for `[1.0, 0.5]`."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return [value] if isinstance(value, (int, float)) else value


Widths = Annotated[
    tuple[Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)], ...],
    Field(min_length=1),
    BeforeValidator(_numbers),
]


class SubmodelConfig(Section):
    """Narrower networks for weaker clients, cut out of the global one; `mlp` and `cnn` can be cut."""

    widths: Widths = (1.0,)
    """Which share of each hidden layer's channels clients have: client k the k-th of these, and so on in
    turn. 1 is the whole network."""
    choice: Literal["nested", "first", "rolling", "norm"] = "nested"
    """Which channels: the `first` ones; those, and clients that have more let the narrower networks within
    theirs learn in turn (`nested`); a window that is another one for each client of a width, so that every
    channel is trained by somebody; or those of largest norm when a client is first asked."""

    @property
    def inner(self) -> tuple[float, ...]:
        """The widths, widest first, that learn in turn wherever a client has them; empty for none."""
        return tuple(sorted(set(self.widths), reverse=True)) if self.choice == "nested" else ()

    @property
    def whole(self) -> bool:
        """Whether all clients have the whole network."""
        return all(width == 1 for width in self.widths)

    @model_validator(mode="after")
    def _somebody_trains_all(self) -> Self:
        if self.choice != "rolling" and max(self.widths) < 1:
            raise ValueError(
                f"'submodel.widths' should have a 1 among them with 'submodel.choice = {self.choice!r}', or "
                f"nobody trains the other channels. Found {max(self.widths):g} at most. Make 'model.hidden' "
                "or 'model.channels' smaller, or choose 'rolling'."
            )
        return self
