"""The section `client`: what a device does in a round."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from phloem.settings.base import Fraction, NotNegative, Positive, Section


def _words(value: object) -> object:
    """Flower's run-config knows no lists: `"reset,rate"` stands for `["reset", "rate"]`."""
    return [word.strip() for word in value.split(",") if word.strip()] if isinstance(value, str) else value


Reaction = Literal["reset", "rate"]


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
    precision: Literal["float32", "bfloat16"] = "float32"
    """In what the network computes while it learns; weights and updates are float32 always."""

    memory_bytes: Annotated[int, Field(ge=0)] = 0
    """What a client may keep between two rounds at most, replay takes what is left. 0 is no limit."""
    replay: Literal["none", "reservoir", "der"] = "none"
    """Whether earlier samples are learned again beside new ones; `der` keeps their logits as well."""
    replay_samples: Annotated[int, Field(ge=0)] = 50
    """How many earlier samples are kept at most; 0 stands for as many as `memory_bytes` allows."""
    replay_inputs: Literal["float32", "float16", "pixels", "symbols"] = "float32"
    """How they are kept: `pixels` is a byte for the nearest of 0/255..255/255, `symbols` two for 0..65535."""
    replay_strength: NotNegative = 1.0
    """Weight of the loss on earlier samples beside that on new ones."""
    logit_strength: NotNegative = 0.5
    """Weight of the squared distance to the logits that `der` keeps."""
    retain: Literal["none", "lwf", "ewc"] = "none"
    """What holds the model near the last global one: its predictions, or the weights that mattered before."""
    retain_strength: NotNegative = 1.0

    detector: Literal["none", "adwin", "hddm_w", "page_hinkley"] = "none"
    """What watches a client's errors for a rise."""
    detector_threshold: NotNegative = 0.0
    """ADWIN's delta, HDDM_W's confidence, Page and Hinkley's lambda; 0 is the detector's usual one."""
    on_drift: Annotated[tuple[Reaction, ...], BeforeValidator(_words)] = ("reset", "rate")
    """What a client does on an alarm: forget samples from before the change, raise its learning rate."""
    drift_rate: Positive = 2.0
    """By what the learning rate is multiplied after an alarm,"""
    drift_rounds: Annotated[int, Field(ge=1)] = 3
    """and for how many rounds."""

    normal_only: bool = False
    """Whether a model that finds anomalies learns from samples of label 0 only; else from all."""
    report_predictions: bool = False
    """Whether replies say how often each class was seen and predicted, four bytes a class each, for kappa."""
