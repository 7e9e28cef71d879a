"""The text of a scenario reads back to an equal one, and a wrong one is refused before anything starts."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phloem.config import Experiment
from phloem.errors import DataError
from phloem.scenario import KINDS, OFTEN, Scenario, scenario
from phloem.steps import Change, Stagger, Swap

TEXTS = [
    *("", "swap", "swap:0.6", "swap:at=0.5,classes=0.6 | stagger:0.2 | label_delay:20", "rotate:-30,at=0"),
    *("noise:1,over=0.3,steps=5", "gain:2,by=client", "swap:period=100", "tasks:5,order=drawn | appear:2"),
    *("burst:0.9,length=10,every=40", "poisson | rush:4,every=5 | slow:0.5,clients=0.2", "swap|swap:at=0.8"),
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_reads_back_to_an_equal_scenario(text: str) -> None:
    """What stands in the run's folder makes the same run again."""
    assert scenario(str(scenario(text))) == scenario(text)


@given(data=st.data())
def test_every_step_with_any_numbers_reads_back(data: st.DataObject) -> None:
    """Whatever numbers a step has, its text says them exactly."""
    name = data.draw(st.sampled_from(sorted(KINDS)))
    kind = KINDS[name]
    given_values: dict[str, object] = {}
    for field in fields(kind):
        if field.name in kind.words:
            given_values[field.name] = data.draw(st.sampled_from(kind.words[field.name]))
        elif field.name in kind.ranges and field.name not in ("over", "steps", "period", "length", "every"):
            lowest, highest = kind.ranges[field.name]
            whole = field.type == "int"
            numbers = st.integers(int(lowest), int(highest)) if whole else st.floats(lowest, highest)
            given_values[field.name] = data.draw(numbers)
    step = kind(**cast("Any", given_values))
    assert scenario(str(Scenario((step,)))).steps == (step,)


def test_the_parts_are_found() -> None:
    """A step is a value with names."""
    found = scenario("swap:at=0.25,classes=0.6 | stagger:0.2")
    assert found.changes == (Swap(at=0.25, classes=0.6),)
    assert found.one(Stagger) == Stagger(0.2)
    assert scenario("").one(Stagger) is None


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("swap", "abrupt"),
        ("swap:over=0.2", "gradual"),
        ("noise:over=0.2,steps=4", "incremental"),
        ("swap:period=0.1", "recurring"),
    ],
)
def test_the_manner_follows_from_the_times(text: str, kind: str) -> None:
    """The four kinds of drift have the field's names."""
    [change] = scenario(text).changes
    assert isinstance(change, Change)
    assert change.kind == kind


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("swop", "made of swap, rotate.* Found 'swop'. Did you mean 'swap'"),
        ("|", "Found ''"),
        ("swap:2", r"`classes` of `swap` should be in 0\.\.1. Found 2"),
        ("swap:nan", r"should be in 0\.\.1. Found nan"),
        ("swap:at=-1", "`at` of `swap`"),
        ("swap:steps=3,over=0.1", "`steps` of `swap`"),
        ("swap:period=1,over=1", "Found both"),
        ("noise:steps=3", "Found none"),
        ("rotate:30,by=me", "'all' or 'client'. Found 'me'"),
        ("noise:x", "`sd` of `noise` should be a number. Found 'x'"),
        ("stagger", "needs `spread`"),
        ("burst:length=300", "at most `every`"),
        ("poisson|poisson", "once"),
        ("tasks:2|tasks:3", "once"),
        ("swap|" * 1000, "characters at most"),
    ],
)
def test_a_wrong_text_is_refused_with_what_was_meant(text: str, message: str) -> None:
    """A misspelt scenario is not taken for none."""
    with pytest.raises(DataError, match=message):
        scenario(text)


def test_a_wrong_scenario_is_told_with_the_setting_it_stands_in() -> None:
    """It fails when it is configured, not in round 3."""
    with pytest.raises(DataError, match=r"In 'data\.scenario': A scenario should be made of"):
        Experiment().with_values({"data.scenario": "swop"})
    assert Experiment().with_values({"data.scenario": " swap : 0.5 "}).data.scenario == "swap:classes=0.5"


def test_which_steps_may_come_twice() -> None:
    """Two changes are two drifts; two staggers would contradict each other."""
    assert {name for name, kind in KINDS.items() if issubclass(kind, OFTEN)} == {
        *("swap", "rotate", "noise", "gain", "appear", "burst"),
    }
