"""The section `exchange`: whether weights travel, or what networks of any kind say of public samples."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from phloem.settings.base import NotNegative, Positive, Section
from phloem.settings.data import ModelConfig
from phloem.settings.server import DistillConfig


class ExchangeConfig(Section):
    """What server and clients tell each other, and how a network learns from what the others say."""

    kind: Literal["weights", "logits"] = "weights"
    """`logits`: what travels is each client's logits on the public proxy samples, and their consensus; every
    client has a network of its own, and the server one that imitates the consensus (`model`)."""
    models: str = ""
    """The clients' networks, with `;` between them: client k has the k-th, and so on in turn. Each is a name
    and what differs from the section `model`: `mlp hidden=32; cnn channels=8,16 hidden=32`. Empty for
    `model` itself."""
    proxy: str = ""
    """Where devices find the proxy samples: a source as `data.source`, all of it; empty for the samples that
    the section `data` holds back as its proxy."""
    samples: Annotated[int, Field(ge=0)] = 0
    """Use only the first so many proxy samples; 0 for all. Bytes and imitation cost in proportion."""
    votes: Literal["classes", "samples"] = "classes"
    """What a client's word counts by: for each class by how many of its samples the client saw this round and
    how certain it is; or by how many samples it learned from and `server.aggregation`, as with weights."""
    temperature: Positive = 1.0
    """By what logits are divided before they are compared."""
    balance: Annotated[float, Field(ge=0, le=1)] = 0.5
    """How much of a client's own class frequencies is taken out of what it says: 0 nothing, 1 all. A client
    that saw little else than threes would call everything a three."""
    hold: NotNegative = 0.5
    """Weight of the squared distance to the consensus while a client learns, on proxy samples drawn beside
    each batch; 0 leaves it out."""
    steps: Annotated[int, Field(ge=1)] = 50
    """Steps in a round with which a client imitates the consensus before it learns."""
    server_steps: Annotated[int, Field(ge=1)] = 100
    """Steps in a round with which the server's network does."""
    batch_size: Annotated[int, Field(ge=1)] = 64
    learning_rate: Positive = 0.002
    """Of these steps."""

    @property
    def speaks_logits(self) -> bool:
        """Whether logits travel, not weights."""
        return self.kind == "logits"

    @property
    def counts_classes(self) -> bool:
        """Whether replies say which classes the client saw."""
        return self.speaks_logits and self.votes == "classes"

    def networks(self, model: ModelConfig) -> tuple[ModelConfig, ...]:
        """Return the clients' networks, in turn; what they do not say is as in `model`."""
        texts = [text for text in self.models.split(";") if text.strip()]
        return tuple(network_of(text, model) for text in texts) or (model,)

    def lesson(self, steps: int) -> DistillConfig:
        """Return how to imitate the consensus for so many steps."""
        return DistillConfig(
            temperature=self.temperature,
            steps=steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            schedule="constant",
        )

    @field_validator("models")
    @classmethod
    def _known_networks(cls, text: str) -> str:
        for part in text.split(";"):
            if part.strip():
                network_of(part, ModelConfig())
        return "; ".join(" ".join(part.split()) for part in text.split(";") if part.strip())

    @model_validator(mode="after")
    def _models_are_of_logits(self) -> Self:
        if self.models and not self.speaks_logits:
            raise ValueError(
                "'exchange.models' should be empty where weights travel, as then all have one network. "
                f"Found {self.models!r}. Set 'exchange.kind' to 'logits'."
            )
        return self


def network_of(text: str, model: ModelConfig) -> ModelConfig:
    """Return the network that `NAME KEY=VALUE ...` describes, beginning from `model`.

    Raises:
        ValueError: it describes none.
    """
    name, *settings = text.split()
    values = dict[str, str]()
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or key == "name" or key not in ModelConfig.model_fields:
            raise ValueError(
                f"networks such as 'mlp hidden=32; cnn channels=8,16', with keys of the section `model`, not "
                f"{setting!r}"
            )
        values[key] = value
    try:
        return ModelConfig.model_validate({**model.model_dump(), **values, "name": name})
    except ValidationError as error:
        found = error.errors()[0]
        raise ValueError(
            f"networks with settings as in the section `model`, not {found['loc'][0]}={found['input']!r}"
        ) from None
