"""The bandit that chooses levels: what it learns, what it spends, and that nothing is lost in between."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phloem.compression.codec import EMPTY, codec
from phloem.compression.update import Schema, add, norm, subtract, zeros
from phloem.config import Experiment, UplinkConfig
from phloem.errors import ConfigError
from phloem.protocol import Reply
from phloem.server.allocate import Levels, choose_levels, codec_for, observe

LEVELS = "ef | rdo:bpp=0.05; ef | rdo:bpp=0.2; ef | rdo:bpp=0.8"
BANDIT = UplinkConfig(allocate="bandit", levels=LEVELS, price=0.3)
SIZES = (100, 400, 1600)
CLIENTS = [str(i) for i in range(8)]


def reply(client: str, loss: float, fidelity: float, alarms: int = 0) -> Reply:
    return Reply(client, 1, 1, 1, 32, loss, 0, b"", 0.0, 0.0, 0.0, alarms=alarms, fidelity=fidelity)


def play(
    config: UplinkConfig, rounds: int, loss: list[float], fidelity: tuple[float, ...]
) -> list[list[int]]:
    """Return the levels of each round where a level always delivers the same share, at the same size."""
    levels, chosen = Levels(), []
    for number in range(1, rounds + 1):
        left = (rounds - number + 1) * len(CLIENTS)
        levels = choose_levels(config, levels, CLIENTS, number, left)
        chosen.append([levels.asked[client] for client in CLIENTS])
        told = [
            (reply(client, loss[number - 1], fidelity[levels.asked[client]]), SIZES[levels.asked[client]])
            for client in CLIENTS
        ]
        levels = observe(config, levels, number, told)
    return chosen


def test_it_learns_what_a_level_is_worth() -> None:
    """Protects the point of it: fine while there is much to learn, coarse when there is not."""
    falling = [2.0] * 20 + [0.1] * 20
    chosen = play(BANDIT, 40, falling, (0.05, 0.5, 0.6))
    assert np.mean(chosen[15:20]) == pytest.approx(1.0, abs=0.1)
    assert np.mean(chosen[-5:]) == pytest.approx(0.0, abs=0.1)
    # Where a finer level delivers nothing more, it is not paid for, however much there is to learn.
    assert np.mean(play(BANDIT, 20, falling, (0.5, 0.5, 0.5))[-5:]) == 0.0
    free = BANDIT.model_copy(update={"price": 0.0})
    assert np.mean(play(free, 20, falling, (0.1, 0.5, 0.9))[-5:]) == pytest.approx(2.0, abs=0.1)


def test_an_alarm_is_a_context_of_its_own() -> None:
    """Protects the budget after drift: clients whose stream changed are not judged by those at rest."""
    levels = choose_levels(BANDIT, Levels(), CLIENTS, 1, 99)
    levels = observe(BANDIT, levels, 1, [(reply(c, 1.0, 0.5, alarms=c == "3"), 100) for c in CLIENTS])
    after = choose_levels(BANDIT, levels, CLIENTS, 3, 99)
    assert [after.contexts[client][3] for client in CLIENTS] == [float(c == "3") for c in CLIENTS]
    assert choose_levels(BANDIT, levels, CLIENTS, 7, 99).contexts["3"][3] == 0.0


@pytest.mark.parametrize("budget", [120, 300, 900])
def test_a_budget_holds(budget: int) -> None:
    """Protects a promise of bytes: the run's updates together never take more."""
    config = BANDIT.model_copy(update={"price": 0.0, "budget": budget})
    chosen = play(config, 30, [2.0] * 30, (0.1, 0.5, 0.9))
    spent = sum(SIZES[level] for levels in chosen for level in levels)
    # The first sizes are not known before they came: a round of the largest at most is spent in ignorance.
    assert spent <= budget * 30 * len(CLIENTS) + len(CLIENTS) * SIZES[-1]
    assert spent >= 0.5 * min(budget, SIZES[-1]) * 30 * len(CLIENTS)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.floats(-1e30, 1e30), st.floats(0, 1)), min_size=8, max_size=8), st.booleans())
def test_no_reply_breaks_it(told: list[tuple[float, float]], first: bool) -> None:
    """Protects the server from a client's loss: its weight is bounded, and levels stay levels."""
    levels = choose_levels(BANDIT, Levels(), CLIENTS, 1, 99)
    if first:
        levels = observe(BANDIT, levels, 1, [(reply(client, 1.0, 0.5), 100) for client in CLIENTS])
    wild = [(reply(c, loss, share), 50) for c, (loss, share) in zip(CLIENTS, told, strict=True)]
    levels = choose_levels(BANDIT, observe(BANDIT, levels, 2, wild), CLIENTS, 3, 99)
    assert set(levels.asked.values()) <= {0, 1, 2}
    assert np.isfinite(levels.worth["gains"]).all()
    assert np.abs(levels.worth["gains"]).max() <= 64


def test_it_is_a_function_of_its_inputs() -> None:
    """Protects equal runs: no generator, no clock, and the state that went in is as it was."""
    levels = choose_levels(BANDIT, Levels(), CLIENTS, 1, 99)
    before = levels.worth["gains"].copy()
    told = [(reply(client, 1.0, 0.5), 100) for client in CLIENTS]
    first, again = (observe(BANDIT, levels, 1, told) for _ in range(2))
    np.testing.assert_array_equal(first.worth["gains"], again.worth["gains"])
    np.testing.assert_array_equal(levels.worth["gains"], before)
    assert (
        choose_levels(BANDIT, first, CLIENTS, 2, 9).asked == choose_levels(BANDIT, again, CLIENTS, 2, 9).asked
    )


def test_a_fixed_level_is_the_codec() -> None:
    """Protects runs that allocate nothing: one codec, and no state."""
    fixed = UplinkConfig()
    assert choose_levels(fixed, Levels(), CLIENTS, 1, 9) == observe(fixed, Levels(), 1, []) == Levels()
    assert codec_for(fixed, Levels(), "0") == fixed.codec
    asked = replace(Levels(), asked={"0": 2})
    assert codec_for(BANDIT, asked, "0") == "ef | rdo:bpp=0.8"
    assert codec_for(BANDIT, asked, "1") == BANDIT.codec


@pytest.mark.parametrize(
    "texts",
    [
        ("ef | rdo:bpp=0.1", "ef | rdo:bpp=1"),
        ("ef | topk:0.01", "ef | topk:0.2 | linear:8", "ef | rdo:bpp=0.1"),
        ("ef | powersgd:1", "ef | powersgd:3", "ef | rdo:bpp=0.1"),
    ],
)
def test_changing_the_level_loses_nothing(texts: tuple[str, ...]) -> None:
    """Protects the residual: what one level left out is owed by the next, whichever it is."""
    rng = np.random.default_rng(5)
    first = {"w": rng.normal(size=(24, 16)).astype(np.float32), "b": rng.normal(size=16).astype(np.float32)}
    schema, state = Schema.of(first), EMPTY
    learned, applied = zeros(schema), zeros(schema)
    for step in range(9):
        update = {name: rng.normal(size=t.shape).astype(np.float32) for name, t in first.items()}
        text = codec(texts[step % len(texts)])
        blob, state = text.encode(update, state, seed=step)
        learned, applied = add(learned, update), add(applied, text.decode(blob, schema))
    assert state.residual is not None
    rest = subtract(learned, add(applied, state.residual))
    assert norm(rest) <= 1e-5 * norm(learned)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"uplink.allocate": "bandit"}, "should name two codecs at least"),
        ({"uplink.allocate": "bandit", "uplink.levels": "fp16"}, "should name two codecs at least"),
        ({"uplink.levels": "fp16; nonsense"}, "nonsense"),
        ({"uplink.levels": "ef | topk:0.1; topk:0.2"}, "in one way"),
    ],
)
def test_wrong_levels_are_named(values: dict[str, object], words: str) -> None:
    """Protects the user: wrong levels fail before the run, in a sentence."""
    with pytest.raises(ConfigError, match=words):
        Experiment().with_values(values)


def test_levels_are_written_in_one_way() -> None:
    """Protects equal settings: blanks and empty parts change nothing."""
    config = UplinkConfig(levels=" ef|topk:0.1 ;; ef | rdo:bpp=0.5;")
    assert config.levels == "ef | topk:0.1; ef | rdo:bpp=0.5"
    assert config.level_texts == ("ef | topk:0.1", "ef | rdo:bpp=0.5")
