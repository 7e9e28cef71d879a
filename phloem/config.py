"""The experiment: one frozen model of every setting, from TOML, flags or Flower's flat run-config.

file.toml ──┐
--set a.b=c ┼─> Experiment ─> resolved TOML in the run's folder
run-config ─┘        └─────> flat run-config (for Flower)
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import tomli_w
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from phloem.compression.codec import codec
from phloem.dotted import flatten, place
from phloem.errors import CodecError, ConfigError
from phloem.explain import explain

Scalar = bool | int | float | str


def _numbers(value: object) -> object:
    """Flower's run-config knows no lists: `"128,64"` stands for `[128, 64]`."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return [value] if isinstance(value, int) else value


Sizes = Annotated[tuple[Annotated[int, Field(ge=1)], ...], BeforeValidator(_numbers)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]


class Section(BaseModel):
    """A frozen group of settings; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


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
    """`mlp`, `cnn`, or the caller's own `module:function`."""
    hidden: Sizes = (128,)
    channels: Sizes = (16, 32)


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
    def _no_feedback(cls, text: str) -> str:
        if codec(text).feedback is not None:
            raise ValueError("a codec without `ef`: what a step leaves out is in the next one anyway")
        return text


class DistillConfig(Section):
    """Ensemble distillation into the new global model, on unlabelled proxy samples."""

    enabled: bool = False
    temperature: Positive = 2.0
    steps: Annotated[int, Field(ge=1)] = 100
    batch_size: Annotated[int, Field(ge=1)] = 64
    learning_rate: Positive = 0.002
    mixup: Annotated[int, Field(ge=0)] = 3
    """Convex mixtures of two proxy samples that the teacher is asked about as well, for each proxy sample."""


class ServerConfig(Section):
    """How updates are chosen, checked, aggregated and evaluated."""

    clients_per_round: Annotated[int, Field(ge=0)] = 10
    """How many clients train in a round; 0 means all."""
    learning_rate: Positive = 1.0
    max_samples: Annotated[int, Field(ge=1)] = 100_000
    """A reply that claims more samples than this is rejected."""
    max_change: Positive = 100.0
    """An update that would move any weight by more than this is rejected."""
    evaluate_every: Annotated[int, Field(ge=1)] = 1
    round_timeout_s: Positive = 3600.0
    connect_timeout_s: Positive = 120.0
    """How long to wait until all clients have answered the first greeting."""
    distill: DistillConfig = DistillConfig()


class RunConfig(Section):
    """The run as a whole."""

    rounds: Annotated[int, Field(ge=1)] = 40
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 1
    directory: str = ""
    """The run's folder; empty means a new one below `runs/`."""
    reference: bool = True
    """Whether a dense run with the same seed is made beside it."""


class Experiment(Section):
    """Every setting of a run."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    client: ClientConfig = ClientConfig()
    uplink: UplinkConfig = UplinkConfig()
    downlink: DownlinkConfig = DownlinkConfig()
    server: ServerConfig = ServerConfig()
    run: RunConfig = RunConfig()

    @model_validator(mode="after")
    def _honest_replies_pass(self) -> Self:
        asked, most = self.client.samples_per_round, self.server.max_samples
        if asked > most:
            raise ValueError(
                f"'client.samples_per_round' should be at most 'server.max_samples', or every reply is "
                f"rejected. Found {asked} and {most}. Change one of them."
            )
        return self

    def to_toml(self) -> str:
        """Return every setting, defaults included, as TOML that `load` reads back."""
        return tomli_w.dumps(self.model_dump(mode="json"))

    def to_flat(self) -> dict[str, Scalar]:
        """Return Flower's run-config: dotted keys, lists as `"128,64"`."""
        values = flatten(self.model_dump(mode="json"))
        return {key: ",".join(map(str, v)) if isinstance(v, list) else v for key, v in values}

    def with_values(self, values: Mapping[str, object]) -> Experiment:
        """Return a copy with the dotted keys of `values` replaced.

        Raises:
            ConfigError: an unknown key or a value outside its range.
        """
        tree = self.model_dump()
        for key, value in values.items():
            place(tree, key, value)
        return from_tree(tree)

    def dense_reference(self) -> Experiment:
        """Return the same experiment with nothing compressed, for comparison."""
        return self.with_values(
            {
                "uplink.codec": "dense",
                "downlink.codec": "dense",
                "downlink.anchor": "dense",
                "server.distill.enabled": False,
                "run.reference": False,
            }
        )


def from_tree(tree: Mapping[str, Any]) -> Experiment:
    """Build an experiment from nested tables.

    Raises:
        ConfigError: the first setting that is unknown or out of range, in one sentence.
    """
    try:
        return Experiment.model_validate(tree)
    except ValidationError as error:
        raise explain(error.errors()[0], Experiment()) from None


def from_flat(values: Mapping[str, Scalar]) -> Experiment:
    """Build an experiment from Flower's run-config; keys it does not name keep their defaults."""
    return Experiment().with_values(values)


def load(path: Path) -> Experiment:
    """Read an experiment from a TOML file.

    Raises:
        ConfigError: the file is missing, not TOML, or holds a wrong setting.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        found = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(
            f"The configuration {str(path)!r} should be a TOML file. Found: {found}. "
            "Name another, or none for the defaults."
        ) from None
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            f"The configuration {str(path)!r} should be TOML, such as `[run]` and below it `rounds = 5`. "
            f"Found: {error}. Correct it there."
        ) from None
    return from_tree(tree)


def parse_assignments(assignments: Iterable[str]) -> dict[str, object]:
    """Turn `["run.rounds=5", "model.name=cnn"]` into values; each is TOML, or else plain text.

    Raises:
        ConfigError: an assignment without `=`.
    """
    values: dict[str, object] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip():
            raise ConfigError(
                f"A setting should be KEY=VALUE, such as run.rounds=5. Found {assignment!r}. Write it so."
            )
        try:
            values[key.strip()] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            values[key.strip()] = text.strip()
    return values
