"""The experiment: one frozen model of every setting, from TOML, flags or Flower's flat run-config.

file.toml ──┐
--set a.b=c ┼─> Experiment ─> resolved TOML in the run's folder
run-config ─┘        └─────> flat run-config (for Flower)
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import tomli_w
from pydantic import ValidationError, model_validator

from phloem.dotted import flatten, place
from phloem.errors import ConfigError
from phloem.explain import explain
from phloem.settings.base import Section
from phloem.settings.client import ClientConfig
from phloem.settings.data import DataConfig, ModelConfig
from phloem.settings.exchange import DownlinkConfig, UplinkConfig
from phloem.settings.link import LinkConfig
from phloem.settings.network import NetworkConfig
from phloem.settings.server import DistillConfig, RunConfig, ServerConfig

__all__ = [
    "ClientConfig",
    "DataConfig",
    "DistillConfig",
    "DownlinkConfig",
    "Experiment",
    "LinkConfig",
    "ModelConfig",
    "NetworkConfig",
    "RunConfig",
    "Scalar",
    "ServerConfig",
    "UplinkConfig",
    "experiment_of",
    "from_flat",
    "from_tree",
    "load",
    "parse_assignments",
]

Scalar = bool | int | float | str


class Experiment(Section):
    """Every setting of a run."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    client: ClientConfig = ClientConfig()
    uplink: UplinkConfig = UplinkConfig()
    downlink: DownlinkConfig = DownlinkConfig()
    server: ServerConfig = ServerConfig()
    link: LinkConfig = LinkConfig()
    network: NetworkConfig = NetworkConfig()
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

    @model_validator(mode="after")
    def _replay_is_bounded(self) -> Self:
        client = self.client
        if client.replay != "none" and not client.replay_samples and not client.memory_bytes:
            raise ValueError(
                "'client.replay_samples' or 'client.memory_bytes' should bound the replay buffer. Found 0 "
                "for both. Set one of them."
            )
        return self

    @model_validator(mode="after")
    def _anomalies_have_no_logits(self) -> Self:
        needs = [
            *(["server.distill.enabled"] if self.server.distill.enabled else []),
            *(["client.replay = 'der'"] if self.client.replay == "der" else []),
        ]
        if self.model.name == "autoencoder" and needs:
            raise ValueError(
                f"The model 'autoencoder' should go without {' and '.join(needs)}, for it tells no classes "
                "apart. Leave that out, or choose another model."
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
                "uplink.allocate": "fixed",
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


def experiment_of(path: Path | None, assignments: Iterable[str], seed: int | None) -> Experiment:
    """Return what a command line asks for: a file or the defaults, then `KEY=VALUE`, then the seed.

    Raises:
        ConfigError: any of them is wrong.
    """
    values = parse_assignments(assignments)
    if seed is not None:
        values["run.seed"] = seed
    return (load(path) if path is not None else Experiment()).with_values(values)


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
