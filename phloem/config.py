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

from phloem.compression.codec import codec
from phloem.compression.ranking import MAGNITUDE
from phloem.dotted import flatten, place
from phloem.errors import ConfigError
from phloem.explain import explain
from phloem.settings.base import Section
from phloem.settings.client import ClientConfig
from phloem.settings.data import DataConfig, ModelConfig
from phloem.settings.exchange import DownlinkConfig, UplinkConfig
from phloem.settings.link import LinkConfig
from phloem.settings.logits import ExchangeConfig
from phloem.settings.network import NetworkConfig
from phloem.settings.server import DistillConfig, RunConfig, ServerConfig
from phloem.settings.submodel import SubmodelConfig

__all__ = [
    "ClientConfig",
    "DataConfig",
    "DistillConfig",
    "DownlinkConfig",
    "ExchangeConfig",
    "Experiment",
    "LinkConfig",
    "ModelConfig",
    "NetworkConfig",
    "RunConfig",
    "Scalar",
    "ServerConfig",
    "SubmodelConfig",
    "UplinkConfig",
    "experiment_of",
    "from_flat",
    "from_tree",
    "load",
    "parse_assignments",
]

Scalar = bool | int | float | str

AVERAGES = ("fedavg", "fedavgm", "fedadam", "fedyogi")
"""Rules that begin with a mean, which each weight has over those clients that have it."""


class Experiment(Section):
    """Every setting of a run."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    submodel: SubmodelConfig = SubmodelConfig()
    exchange: ExchangeConfig = ExchangeConfig()
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
    def _parts_can_be_averaged(self) -> Self:
        rule = self.server.aggregation
        if not self.submodel.whole and rule not in AVERAGES:
            raise ValueError(
                f"'server.aggregation' should be one of {', '.join(AVERAGES)} where clients have parts of "
                f"the network, for other rules compare whole updates. Found {rule!r}. Change it, or set "
                "'submodel.widths' to 1."
            )
        return self

    @model_validator(mode="after")
    def _logits_can_travel(self) -> Self:
        exchange, server = self.exchange, self.server
        if not exchange.speaks_logits:
            return self
        spoken = [codec(text) for text in (self.uplink.codec, *self.uplink.level_texts)]
        wrong = {
            "a model that tells no classes apart": any(
                model.name == "autoencoder" for model in (self.model, *exchange.networks(self.model))
            ),
            "server.distill.enabled, as the server learns from the consensus anyway": server.distill.enabled,
            "submodel.widths other than 1, as every client has a network of its own": not self.submodel.whole,
            "server.on_drift = 'cluster'": server.on_drift == "cluster",
            "ef in 'uplink.codec', as clients say all anew in every round": any(
                each.feedback is not None for each in spoken
            ),
            "an 'uplink.codec' that ranks weights by what they matter": any(
                each.ranked_by != MAGNITUDE for each in spoken
            ),
            "client.replay, unless 'exchange.hold' is 0": exchange.hold > 0 and self.client.replay != "none",
            "server.aggregation or server.clip, unless 'exchange.votes' is 'samples'": (
                exchange.votes == "classes" and (server.aggregation != "fedavg" or server.clip > 0)
            ),
        }
        found = [text for text, is_there in wrong.items() if is_there]
        if found:
            raise ValueError(
                f"'exchange.kind = logits' should go without some other settings. Found {found[0]}. "
                "Leave that out ('linear:4 | rans' is a codec for logits), or let weights travel."
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
