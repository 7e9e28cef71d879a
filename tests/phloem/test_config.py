"""The experiment: the same from TOML, flags and Flower's run-config; a wrong setting is told clearly."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from phloem.compression.codec import codec
from phloem.config import Experiment, Scalar, from_flat, from_tree, load, parse_assignments
from phloem.errors import CodecError, ConfigError

SETTINGS: dict[str, st.SearchStrategy[Scalar]] = {
    "data.source": st.text("abc:/_. \"'\\=éα", max_size=12),
    "data.clients": st.integers(0, 10**6),
    "data.test_fraction": st.floats(0, 0.99),
    "data.when_dry": st.sampled_from(["repeat", "idle"]),
    "model.hidden": st.sampled_from(["", "1", "128,64", "3,2,1"]),
    "client.learning_rate": st.floats(1e-300, 1e300),
    "uplink.codec": st.sampled_from(["dense", "ef|topk:.1", "ef:decay=0.5 | linear:8,per=tensor | zstd:19"]),
    "downlink.held_models": st.integers(1, 1000),
    "server.distill.enabled": st.booleans(),
    "run.seed": st.integers(0, 2**32 - 1),
    "run.directory": st.text("ab \"'\\/é", max_size=12),
}
experiments = st.fixed_dictionaries({}, optional=SETTINGS).map(
    lambda values: Experiment().with_values(values)
)


@given(experiments)
def test_every_form_gives_the_same_experiment_back(experiment: Experiment) -> None:
    """Protects repeating a run from its folder, and Flower's engine, which knows only flat scalars."""
    assert from_flat(experiment.to_flat()) == experiment
    assert all(isinstance(value, bool | int | float | str) for value in experiment.to_flat().values())


@given(experiments)
def test_toml_holds_every_setting(tmp_path_factory: pytest.TempPathFactory, experiment: Experiment) -> None:
    """Protects the run's folder: the file there says all, defaults included."""
    path = tmp_path_factory.mktemp("toml") / "experiment.toml"
    path.write_text(experiment.to_toml(), encoding="utf-8")
    assert load(path) == experiment


def test_codecs_are_kept_in_their_canonical_text() -> None:
    """Protects the ledger's digest: two spellings of one codec are one experiment."""
    spelt = Experiment().with_values({"uplink.codec": "ef|rdo:bpp=.25"})
    assert spelt == Experiment()
    for text in (Experiment().uplink.codec, Experiment().downlink.codec, Experiment().downlink.anchor):
        assert str(codec(text)) == text


def test_the_reference_differs_by_what_is_compressed_alone() -> None:
    """Protects the comparison: same data, seed and training, nothing compressed or distilled."""
    experiment = Experiment().with_values({"run.seed": 7, "server.distill.enabled": True})
    dense = experiment.dense_reference().to_flat()
    changed = {key for key, value in experiment.to_flat().items() if dense[key] != value}
    assert changed == {
        "uplink.codec",
        "downlink.codec",
        "downlink.anchor",
        "server.distill.enabled",
        "run.reference",
    }
    assert {dense[key] for key in ("uplink.codec", "downlink.codec", "downlink.anchor")} == {"dense"}


def test_it_cannot_be_changed() -> None:
    """Protects the caches that open data and models by their settings."""
    experiment = Experiment()
    with pytest.raises(ValidationError):
        experiment.run.rounds = 3
    assert hash(experiment) == hash(Experiment())


SECTIONS = "client, data, downlink, exchange, link, model, network, run, server, submodel, uplink."


@pytest.mark.parametrize(
    ("key", "meant", "listed"),
    [
        ("run.round", "run.rounds", "baselines, directory, reference, resume, rounds, seed."),
        ("rounds", "run.rounds", SECTIONS),
        ("runs.rounds", "run", SECTIONS),
        ("server.distil.steps", "server.distill", "distill, drift_share"),
        ("server.distill.temprature", "server.distill.temperature", "batch_size, doubt"),
        ("client.temperature", "exchange.temperature", "batch_size, detector"),
        ("data.clients_per_round", "server.clients_per_round", "bad_rows, categories"),
    ],
)
def test_an_unknown_key_is_told_its_nearest(key: str, meant: str, listed: str) -> None:
    """Protects the user who misspells: the key that was meant, and the keys of that section alone."""
    with pytest.raises(ConfigError) as caught:
        Experiment().with_values({key: 1})
    text = str(caught.value)
    assert f"Did you mean {meant!r}?" in text
    assert listed in text
    assert len(text) < 500, "all keys of all sections would hide the one that matters"


def test_a_key_like_no_other_gets_no_guess() -> None:
    """Protects against advice that is worse than none."""
    with pytest.raises(ConfigError, match=r"The key 'zzz' is unknown\. Sections: client, data"):
        Experiment().with_values({"zzz.qqq": 1})


@pytest.mark.parametrize(
    ("key", "value", "expected", "default"),
    [
        ("run.rounds", 0, "greater than or equal to 1", "40"),
        ("run.rounds", "many", "a whole number", "40"),
        ("run.rounds", 2.5, "a whole number", "40"),
        ("run.seed", -1, "greater than or equal to 0", "1"),
        ("run.seed", 2**32, "less than 4294967296", "1"),
        ("run.reference", "maybe", "true or false", "true"),
        ("run.directory", 2026, "text", '""'),
        ("client.learning_rate", float("nan"), "a finite number", "0.3"),
        ("client.learning_rate", 0, "greater than 0", "0.3"),
        ("client.optimizer", "lion", "'sgd' or 'adamw'", '"sgd"'),
        ("data.test_fraction", 1, "less than 1", "0.2"),
        ("model.hidden", "12,x", "a whole number", "[128]"),
        ("model.hidden", [0], "greater than or equal to 1", "[128]"),
        ("model.hidden", {"a": 1}, "whole numbers such as '128,64'", "[128]"),
        ("uplink.codec", 5, "the text of a codec", '"ef | rdo'),
        ("downlink.codec", "ef | fp16", "a codec without `ef`", '"rdo:bpp=0.3"'),
        ("downlink.anchor", "ef | fp16", "a codec without `ef`", '"rdo:bpp=4"'),
        ("downlink.codec", "channels:0.5,by=information", "ranks by magnitude", '"rdo:bpp=0.3"'),
    ],
)
def test_a_wrong_value_is_told_what_was_expected_found_and_usual(
    key: str, value: object, expected: str, default: str
) -> None:
    """Protects the three parts of every error: expected, found, remedy."""
    with pytest.raises(ConfigError) as caught:
        Experiment().with_values({key: value})
    text = str(caught.value)
    assert text.startswith((f"{key!r} should be ", f"'{key}."))
    assert expected in text
    assert "Found " in text
    assert f"The default is {default}" in text
    assert "pydantic" not in text


def test_a_section_is_not_a_value_and_a_value_no_section() -> None:
    """Protects against a file that is one level off."""
    with pytest.raises(ConfigError, match=r"'data' should be a section\. Found 5\. Write its settings below"):
        from_tree({"data": 5})
    with pytest.raises(ConfigError, match=r"'run\.rounds' is a setting, not a section"):
        Experiment().with_values({"run.rounds.x": 1})


@pytest.mark.parametrize("text", ["topkk:0.1", "zstd | topk:0.1", "", "linear:99", "ef"])
def test_a_wrong_codec_is_an_error_of_its_setting(text: str) -> None:
    """Protects finding the place: an experiment has three codecs, and the text says which is wrong."""
    with pytest.raises(CodecError, match=r"^In 'downlink\.anchor': "):
        Experiment().with_values({"downlink.anchor": text})


def test_settings_that_would_reject_every_honest_reply_are_refused() -> None:
    """Protects a run from learning nothing for all its rounds."""
    with pytest.raises(ConfigError, match=r"'server\.max_samples'.*Found 200 and 100\. Change one"):
        Experiment().with_values({"client.samples_per_round": 200, "server.max_samples": 100})


def test_assignments_are_toml_or_else_text() -> None:
    """Protects shells: a codec needs no quotes of TOML's inside the shell's own."""
    assert parse_assignments(
        [
            "run.rounds=5",
            " run.reference = false",
            "uplink.codec=ef | topk:0.1",
            "a.b=[1, 2]",
            "x=",
            'y="5"',
            "z=a=b",
        ]
    ) == {
        "run.rounds": 5,
        "run.reference": False,
        "uplink.codec": "ef | topk:0.1",
        "a.b": [1, 2],
        "x": "",
        "y": "5",
        "z": "a=b",
    }


@pytest.mark.parametrize("assignment", ["", "run.rounds", "=5", " = 5"])
def test_an_assignment_without_a_key_or_a_value_is_refused(assignment: str) -> None:
    """Protects against a flag that silently does nothing."""
    with pytest.raises(ConfigError, match=r"should be KEY=VALUE, such as run\.rounds=5"):
        parse_assignments([assignment])


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Protects the user who mistypes a path, or names something else."""
    with pytest.raises(ConfigError, match=r"nowhere\.toml' should be a TOML file\. Found: No such file"):
        load(tmp_path / "nowhere.toml")
    with pytest.raises(ConfigError, match=r"should be a TOML file\. Found: Is a directory"):
        load(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b'[data]\nsource = "\xe9"\n')
    with pytest.raises(ConfigError, match="should be a TOML file"):
        load(tmp_path / "latin.toml")
    (tmp_path / "not.toml").write_text("rounds: 5\n")
    with pytest.raises(ConfigError, match=r"should be TOML.*line 1"):
        load(tmp_path / "not.toml")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"client.replay": "reservoir", "client.replay_samples": 0}, "should bound the replay buffer"),
        ({"model.name": "autoencoder", "client.replay": "der"}, "without client.replay = 'der'"),
        ({"model.name": "autoencoder", "server.distill.enabled": True}, "without server.distill.enabled"),
    ],
)
def test_settings_that_cannot_work_together_are_refused(values: dict[str, object], message: str) -> None:
    """Protects a run from failing in its first round, or from a buffer that grows for ever."""
    with pytest.raises(ConfigError, match=message):
        Experiment().with_values(values)


def test_reactions_are_words() -> None:
    """Protects the comma form: Flower's run-config has no lists, and no reaction at all is a choice."""
    assert Experiment().with_values({"client.on_drift": "rate"}).client.on_drift == ("rate",)
    assert Experiment().with_values({"client.on_drift": ""}).client.on_drift == ()
    assert Experiment().to_flat()["client.on_drift"] == "reset,rate"
    with pytest.raises(ConfigError, match="'reset' or 'rate'"):
        Experiment().with_values({"client.on_drift": "panic"})
