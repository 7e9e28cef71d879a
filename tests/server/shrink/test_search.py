"""A search that has found nothing good enough yet looks among larger models, not at random."""

from __future__ import annotations

import pytest

pytest.importorskip("optuna", reason='needs the extra: pip install "phloem[tune]"')
pytest.importorskip("torch_pruning", reason='needs the extra: pip install "phloem[shrink]"')

from phloem.server.shrink.lessons import Lesson, ask
from phloem.server.shrink.search import first_guesses, search
from phloem.server.shrink.trial import Task
from tests.server.shrink.networks import trained_run


def test_without_a_good_one_the_search_goes_up() -> None:
    """What no trial can reach: after the guesses a step is larger than the most accurate one before."""
    run = trained_run()
    questions = ask(run.network, run.proxy, count=200, seed=1)
    task = Task(run.network, questions, run.proxy, run.validation, Lesson(steps=5), 1)
    guesses = len(first_guesses(task))
    *before, last = search(task, guesses + (2 if guesses % 5 == 0 else 1), least=1.01)
    best = max(before, key=lambda one: (one.validation.accuracy, -len(one.data)))
    assert len(last.data) > len(best.data)


def test_what_is_good_enough_is_made_smaller() -> None:
    """Where anything will do, the search ends below its smallest guess."""
    run = trained_run()
    questions = ask(run.network, run.proxy, count=200, seed=1)
    task = Task(run.network, questions, run.proxy, run.validation, Lesson(steps=5), 1)
    guesses = len(first_guesses(task))
    trials = search(task, 9, least=0.0)
    assert min(len(one.data) for one in trials[guesses:]) < min(len(one.data) for one in trials[:guesses])
