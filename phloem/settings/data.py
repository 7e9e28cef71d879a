"""The section `data`: what is learned from, and how it reaches the clients."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from phloem.errors import DataError
from phloem.scenario import scenario
from phloem.settings.base import Fraction, Section, Sizes


def _known_scenario(text: object) -> str:
    if not isinstance(text, str):
        raise ValueError("the text of a scenario, such as 'swap:at=0.5 | stagger:0.2'")
    try:
        return str(scenario(text))
    except DataError as error:
        raise ValueError(str(error)) from error  # pydantic adds where it stands; `from_tree` gives it back


ScenarioText = Annotated[str, BeforeValidator(_known_scenario)]


class DataConfig(Section):
    """Where the samples come from and how they are spread over the clients."""

    source: str = "digits"
    """`digits`; `npz:`, `csv:` or `parquet:PATH`; `fashion_mnist:`, `elec2:`, `wisdm_ar:`, `kdd99:`,
    `tinyshakespeare:`, `fsdd_logmel:` or `watch_har:PATH`; `hf:NAME`; `stream:MODULE:FUNCTION`, which
    yields each client's (x, y); or the caller's own `module:function`, which returns a Federation."""
    label: str = ""
    """Column or array of the labels, where a source has a choice; empty for its usual one."""
    partition: str = "dirichlet:0.3"
    """`iid`, `dirichlet:ALPHA`, `pathological:CLASSES`, `quantity:SIGMA`, `blocks`, `turns[:ROWS]`, or
    `natural[:ARRAY]`, by the ids in an array or column of the source."""
    clients: Annotated[int, Field(ge=0)] = 20
    """0 stands for as many as there are ids, with `natural`."""
    hold_out: str = "auto"
    """Which rows are for the test: `rows` at random, `time` for the last ones, `clients[:IDS]` for whole
    natural clients that are never learned from, or `auto`, what suits the source."""
    test_fraction: Fraction = 0.2
    validation_fraction: Fraction = 0.1
    proxy_fraction: Fraction = 0.1
    rows: Annotated[int, Field(ge=0)] = 0
    """Use only the first so many rows of the source; 0 for all."""
    when_dry: Literal["repeat", "idle"] = "repeat"
    """What a client does when its stream has no new samples left."""
    scenario: ScenarioText = ""
    """What happens on the way: drift, label delay, arrival; such as `swap:at=0.5 | stagger:0.2`."""
    scale: Literal["auto", "none", "standard"] = "auto"
    """`standard`: mean 0 and deviation 1, over the clients' rows alone; `auto`: as the source needs."""
    bad_rows: Literal["refuse", "drop", "impute"] = "refuse"
    """What to do with rows that are not finite or have no valid label; `impute` fills NaN with the mean over
    the clients' rows. Those dropped are counted."""
    categories: Literal["refuse", "onehot"] = "refuse"
    """What to do with columns of text in a table."""
    time: str = ""
    """The column of a table by which its rows are put in order; empty for the file's own."""
    follow: Annotated[int, Field(ge=0)] = 0
    """A CSV file that grows: its first so many rows are for test, validation and proxy, and whatever stands
    below them, or will, is the clients' stream; 0 for a file that is complete."""
    classes: Annotated[int, Field(ge=0)] = 0
    """How many classes there are, if not only those that occur; 0 for those."""
    shape: Sizes = ()
    """The shape of an input from `stream:`; empty to look at the first one."""
    lags: Annotated[int, Field(ge=0, le=1000)] = 0
    """What was known so many periods earlier as inputs, with `elec2:`."""
    window: Annotated[int, Field(ge=1, le=10_000)] = 32
    """How many characters an input has, with `tinyshakespeare:`."""

    def of_one_device(self, source: str) -> DataConfig:
        """Return the section for a device that learns from `source`, all of it and in its own order.

        The server holds back and scores its own data; how wide inputs are and how many classes there are has
        to be the same on both sides (`data.classes`).
        """
        alone = {"clients": 1, "partition": "blocks", "hold_out": "rows", "scenario": ""}
        nothing_back = dict.fromkeys(("test_fraction", "validation_fraction", "proxy_fraction"), 0.0)
        return DataConfig(**{**self.model_dump(), "source": source, **alone, **nothing_back})


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
