"""The settings of what travels: networks as text, and what does not go together."""

from __future__ import annotations

import pytest

from phloem.config import Experiment, from_flat
from phloem.errors import ConfigError
from phloem.settings.data import ModelConfig

UNLIKE = "mlp hidden=32; mlp hidden=256,128; cnn channels=8,16 hidden=32; my.nets:tiny"
LOGITS = {"exchange.kind": "logits", "uplink.codec": "linear:4"}


def test_a_network_is_a_name_and_what_differs_from_the_model() -> None:
    """Protects the text form: each network in turn, the rest as in the section `model`."""
    experiment = Experiment().with_values({**LOGITS, "exchange.models": UNLIKE, "model.hidden": "64"})
    small, large, cnn, own = experiment.exchange.networks(experiment.model)
    assert (small.hidden, large.hidden) == ((32,), (256, 128))
    assert (cnn.name, cnn.channels, cnn.hidden) == ("cnn", (8, 16), (32,))
    assert own == ModelConfig(name="my.nets:tiny", hidden=(64,))
    assert Experiment().exchange.networks(ModelConfig()) == (ModelConfig(),)


def test_the_text_survives_flowers_flat_settings() -> None:
    """Protects `flwr run`: the same networks on every device."""
    experiment = Experiment().with_values({**LOGITS, "exchange.models": UNLIKE})
    assert from_flat(experiment.to_flat()) == experiment


@pytest.mark.parametrize("text", ["mlp hiden=3", "mlp hidden=0", "mlp 32", "mlp name=cnn", "gru width=x"])
def test_a_wrong_network_is_refused_when_it_is_set(text: str) -> None:
    """Protects from round 3: the setting is named, and how one is written."""
    with pytest.raises(ConfigError, match=r"'exchange\.models' should be networks.*Found"):
        Experiment().with_values({**LOGITS, "exchange.models": text})


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"server.distill.enabled": True}, "distill"),
        ({"submodel.widths": "1,0.5"}, "submodel"),
        ({"server.on_drift": "cluster"}, "cluster"),
        ({"uplink.codec": "topk:0.1,by=importance | linear:4"}, "ranks weights"),
        ({"uplink.codec": "ef | linear:4"}, "ef"),
        ({"exchange.models": "mlp; autoencoder hidden=8"}, "tells no classes apart"),
        ({"client.replay": "reservoir"}, r"client\.replay"),
        ({"server.aggregation": "krum"}, r"server\.aggregation"),
        ({"server.clip": 2.0}, r"server\.clip"),
    ],
)
def test_what_makes_no_sense_with_logits_is_refused(values: dict[str, object], found: str) -> None:
    """Protects from a run that would do something else than its settings say."""
    with pytest.raises(ConfigError, match=rf"should go without.*Found .*{found}.*[Ll]e"):
        Experiment().with_values({**LOGITS, **values})


def test_other_rules_work_on_logits_where_votes_are_by_samples() -> None:
    """Protects the robust rules, which know updates of any kind."""
    values = {"exchange.votes": "samples", "server.aggregation": "fedmedian"}
    assert Experiment().with_values({**LOGITS, **values}).server.aggregation == "fedmedian"


def test_networks_of_their_own_need_logits() -> None:
    """Protects from the belief that unlike networks could be averaged."""
    with pytest.raises(ConfigError, match=r"should be empty where weights travel"):
        Experiment().with_values({"exchange.models": UNLIKE})
