"""`phloem scenario`: what will reach the clients, in words and as an object."""

from __future__ import annotations

import json

from typer.testing import CliRunner

from phloem.cli.main import app

RUN = CliRunner()
SET = [
    "--set",
    "data.clients=3",
    "--set",
    "data.partition=iid",
    "--set",
    "data.scenario=tasks:5 | label_delay:4",
]


def test_it_tells_the_scenario_and_draws_it() -> None:
    """A reader sees when which classes come."""
    done = RUN.invoke(app, ["scenario", *SET])
    assert done.exit_code == 0
    assert "tasks:5 | label_delay:4" in done.output
    assert "12 classes by tasks" in done.output
    assert "client   2  class   " in done.output


def test_the_object_holds_the_same_and_the_counts() -> None:
    """Other tools can draw it as well."""
    done = RUN.invoke(app, ["scenario", "--json", "--bins", "5", "--seed", "3", *SET])
    found = json.loads(done.stdout)
    assert (found["clients"], found["concepts"], found["label_delay"], len(found["drifts"])) == (3, 5, 4, 12)
    assert sum(sum(map(sum, client)) for client in found["mix"]["counts"]) == sum(found["samples"])


def test_a_wrong_scenario_is_bad_input() -> None:
    """Exit code 2, and the words that are known."""
    done = RUN.invoke(app, ["scenario", "--set", "data.scenario=swop"])
    assert done.exit_code == 2
    assert "Did you mean 'swap'" in done.output
