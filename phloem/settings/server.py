"""The sections `server` and `run`: rounds, and what is done with replies."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from phloem.settings.base import Fraction, NotNegative, Positive, Section


class DistillConfig(Section):
    """Ensemble distillation into the new global model, on proxy samples and on some that are labelled."""

    enabled: bool = False
    votes: Literal["product", "certain", "mean"] = "product"
    """How the clients' predictions become one: their product, each without what its client takes for granted
    as it saw some classes more often; or their mean, by class counts and certainty, or by class counts."""
    temperature: Positive = 1.0
    steps: Annotated[int, Field(ge=1)] = 500
    batch_size: Annotated[int, Field(ge=1)] = 64
    learning_rate: Positive = 0.002
    schedule: Literal["cosine", "constant"] = "cosine"
    """What the learning rate does over the steps: falls to 0 along half a cosine, or stays."""
    label_weight: Fraction = 0.2
    """How much of the loss is cross-entropy on labelled samples: every second one of the validation slice of
    each class, which then judges nothing; with 0 all of the slice judges."""
    mixup: Annotated[int, Field(ge=0)] = 3
    """Convex mixtures of two proxy samples that the teacher is asked about as well, for each proxy sample."""
    margin: Fraction = 0.02
    """How many more of the validation samples the distilled model has to get right to be kept, as a share;"""
    doubt: Annotated[float, Field(gt=0, le=1)] = 0.05
    """and how likely at most it may be that a model that is no better comes off as well by chance."""
    proxy: Literal["given", "noise", "generator"] = "given"
    """What the teacher is asked about: the data's proxy samples, noise, or what a generator makes that is
    trained on the clients' models each round."""
    generator_steps: Annotated[int, Field(ge=10)] = 1200
    previous: NotNegative = 0.0
    """The vote of the last global model, as a share of all clients' votes together; 0 leaves it out."""

    @property
    def decay_steps(self) -> int:
        """Over how many steps the learning rate falls to 0; 0 where it stays."""
        return self.steps if self.schedule == "cosine" else 0


class ServerConfig(Section):
    """How updates are chosen, checked, aggregated and evaluated."""

    clients_per_round: Annotated[int, Field(ge=0)] = 10
    """How many clients train in a round; 0 means all."""
    over_selection: Annotated[float, Field(ge=1, le=10)] = 1.0
    """So many times more clients are asked; the first `clients_per_round` usable replies make the round, and
    what comes later returns through its client's residual."""
    learning_rate: Positive = 1.0
    aggregation: Literal[
        "fedavg",
        "fedavgm",
        "fedadam",
        "fedyogi",
        "fedmedian",
        "fedtrimmedavg",
        "krum",
        "multikrum",
        "bulyan",
    ] = "fedavg"
    """What a round's updates come to; all but `fedavg`, the weighted mean, hold them in memory, decoded."""
    momentum: Fraction = 0.9
    """Of the server's optimizers: fedavgm, fedadam, fedyogi."""
    adaptive_rate: Positive = 0.01
    """The step of fedadam and fedyogi, which `learning_rate` scales as it does every other."""
    hostile: Annotated[float, Field(ge=0, lt=0.5)] = 0.1
    """The share of a round's updates that fedtrimmedavg, krum, multikrum and bulyan have to withstand."""
    clip: NotNegative = 0.0
    """Shortens updates longer than so many times the round's median length; 0 leaves them."""
    weight_cap: Annotated[int, Field(ge=0)] = 0
    """As how many samples a reply counts at most; 0 for as many as it says."""
    quorum: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The share of a round's replies that have to be usable; with fewer the round changes nothing."""
    strikes: Annotated[int, Field(ge=0)] = 0
    """After so many rejected replies a client is left out; 0 for never."""
    penalty_rounds: Annotated[int, Field(ge=0)] = 0
    """For how many rounds a client is left out; 0 for the rest of the run."""
    max_samples: Annotated[int, Field(ge=1)] = 100_000
    """A reply that claims more samples than this is rejected."""
    max_change: Positive = 100.0
    """An update that would move any weight by more than this is rejected."""
    evaluate_every: Annotated[int, Field(ge=1)] = 1
    round_timeout_s: Positive = 3600.0
    """A round's deadline: who has not answered by then is missing in it."""
    absence_s: NotNegative = 60.0
    """On Flower's own engine, how long a round waits for a client whose node or app was found dead, to ask it
    again when it is back; on the link it is `link.absence_s`."""
    connect_timeout_s: Positive = 120.0
    """How long to wait until all clients have answered the first greeting."""
    min_clients: Annotated[int, Field(ge=0)] = 0
    """How many clients are enough to begin once the waiting is over; 0 means all. Others may join later."""
    checkpoint_every: Annotated[int, Field(ge=0)] = 1
    """After how many rounds everything is saved, so that a killed run can go on; 0 means never. Clients that
    keep their own state, as all do but a simulation's, need every round saved: what a run took from them in
    a round that is lost with the server is lost."""
    on_drift: Literal["none", "extra_round", "cluster"] = "none"
    """What follows when clients' detectors fire: those clients are asked in the next round as well, or change
    to the other one of two global models."""
    drift_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Which share of a round's clients has to have an alarm for that; with 0 one is enough."""
    distill: DistillConfig = DistillConfig()

    @model_validator(mode="after")
    def _more_than_some(self) -> Self:
        if self.over_selection > 1 and not self.clients_per_round:
            raise ValueError(
                "'server.clients_per_round' should say how many replies make a round, where "
                "'server.over_selection' asks more clients than that. Found 0, which means all. Set it, or "
                "'server.over_selection' to 1."
            )
        return self


class RunConfig(Section):
    """The run as a whole."""

    rounds: Annotated[int, Field(ge=1)] = 40
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 1
    directory: str = ""
    """The run's folder; empty means a new one below `runs/`."""
    resume: bool = False
    """Whether to go on with the run in `directory` where it was broken off, if there is one."""
    reference: bool = True
    """Whether a dense run with the same seed is made beside it."""
    baselines: Literal["none", "trivial", "river"] = "trivial"
    """What a simulation's streams are compared with: predictors that look at no input, or also river's
    standard learners, which see all clients' samples in one place and take their time."""
