"""Scenarios on streams: nothing is lost, the truth told is the truth, and the seed decides all."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from phloem.config import DataConfig
from phloem.errors import DataError
from phloem.federation import Drift, Federation, Samples
from phloem.scenario import scenario
from phloem.simulation.data.federate import federate
from phloem.simulation.data.play import play

CLASSES = 10
SCENARIOS = [
    *("swap:at=0.4,classes=0.6", "swap:over=0.3", "swap:period=0.2", "tasks:5", "appear:2,at=0.3"),
    *(
        "burst:0.8,length=10,every=40",
        "tasks:2 | swap:at=0.7",
        "gain:2,at=0.5 | stagger:0.3",
        "noise:1,by=client",
    ),
    *("rotate:40,over=0.4,steps=4", "swap:clients=0.5", "label_delay:5 | poisson | rush | slow"),
]


def numbered(clients: int = 4, rows: int = 200, classes: int = CLASSES) -> Federation:
    """Make images of which one pixel holds the row's number and another its label; both stay as they are."""

    def share(client: int) -> Samples:
        number = np.arange(rows) + client * rows
        x = np.zeros((rows, 1, 4, 4), np.float32)
        x[:, 0, 0, 0] = number
        return Samples(x, (number * 7 + number // 13) % classes)

    parts = [share(client) for client in range(clients + 1)]
    empty = Samples(parts[0].x[:0], parts[0].y[:0])
    return Federation(tuple(parts[:-1]), parts[-1], empty, empty.x, classes, (1, 4, 4))


def played(text: str, seed: int = 1, **facts: int) -> Federation:
    """Play a scenario on numbered rows."""
    return play(numbered(**facts), scenario(text), seed)


def original(samples: Samples) -> NDArray[np.int64]:
    """Return the label a row had, by its number."""
    number: NDArray[np.int64] = np.rint(samples.x[:, 0, 0, 0]).astype(np.int64)
    return (number * 7 + number // 13) % CLASSES


@pytest.mark.parametrize("text", SCENARIOS)
def test_no_sample_is_lost_or_comes_twice(text: str) -> None:
    """A scenario moves and changes samples; it does not make or lose them."""
    before, after = numbered(), played(text)
    assert [len(share) for share in after.shares] == [len(share) for share in before.shares]
    moved = scenario(text).changes == () or text.startswith("swap")
    for one, other in zip(before.shares, after.shares, strict=True):
        if moved:
            assert sorted(one.x[:, 0, 0, 0]) == sorted(other.x[:, 0, 0, 0])


@pytest.mark.parametrize("text", SCENARIOS)
def test_the_same_seed_plays_the_same_and_another_differently(text: str) -> None:
    """Server and clients play for themselves, and must agree to the bit."""
    first, again = played(text), played(text)
    assert all(
        np.array_equal(a.x, b.x) and np.array_equal(a.y, b.y)
        for a, b in zip(first.shares, again.shares, strict=True)
    )
    assert first.drifts == again.drifts
    assert (first.label_delay, first.arrivals) == (again.label_delay, again.arrivals)


@pytest.mark.parametrize("text", SCENARIOS)
def test_what_came_in_is_not_touched(text: str) -> None:
    """Arrays of a federation are shared and read-only."""
    given = numbered()
    for share in given.shares:
        share.x.flags.writeable = share.y.flags.writeable = False
    play(given, scenario(text), 1)


@pytest.mark.parametrize("text", [text for text in SCENARIOS if "noise" not in text])
def test_a_share_is_what_its_concepts_views_make_of_it(text: str) -> None:
    """The test of a concept obeys the law that the stream obeys at that time: same inputs, same labels."""
    before, after = numbered(), played(text)
    if not after.concepts:
        return
    for client, share in enumerate(after.shares):
        for concept in np.unique(after.concepts[client]):
            seen = after.views[concept](before.shares[client])
            known = {
                row.x.tobytes(): int(row.y[0])
                for row in (seen.take(slice(i, i + 1)) for i in range(len(seen)))
            }
            for place in np.flatnonzero(after.concepts[client] == concept):
                assert known[share.take(slice(place, place + 1)).x.tobytes()] == share.y[place]


def test_an_abrupt_swap_changes_all_labels_of_its_classes_from_its_moment_on() -> None:
    """Before it nothing; after it no label of the classes is what it was, and the others are."""
    after = played("swap:at=0.4,classes=0.6")
    changed = set()
    for share in after.shares:
        right = original(share)
        assert (share.y[:80] == right[:80]).all()
        wrong = share.y[80:] != right[80:]
        changed |= set(right[80:][wrong])
        assert set(right[80:][wrong]).isdisjoint(set(right[80:][~wrong]))
    assert len(changed) == 6
    assert after.drifts == tuple(Drift(client, 80, 80, "abrupt", "swap") for client in range(4))
    assert [after.concept_at(0, position) for position in (0, 79, 80, 199, 200)] == [0, 0, 1, 1, 0]


def test_a_moment_may_be_a_number_of_samples() -> None:
    """A drift at sample 150 is at sample 150."""
    assert {drift.position for drift in played("swap:at=150").drifts} == {150}


def test_a_gradual_swap_comes_in_more_and_more_often() -> None:
    """Between its beginning and its end both concepts are there; the share of the new one rises."""
    after = played("swap:at=0.2,over=0.6", rows=2000, clients=1)
    concept = after.concepts[0]
    assert after.drifts == (Drift(0, 400, 1600, "gradual", "swap"),)
    assert not concept[:400].any()
    assert concept[1600:].all()
    thirds = [part.mean() for part in np.split(concept[400:1600], 3)]
    assert thirds == pytest.approx([1 / 6, 1 / 2, 5 / 6], abs=0.08)


def test_a_recurring_swap_goes_and_comes() -> None:
    """Each period is one concept, in turn."""
    after = played("swap:at=0.2,period=0.2", clients=1)
    assert after.concepts[0].tolist() == [0] * 40 + [1] * 40 + [0] * 40 + [1] * 40 + [0] * 40
    assert [drift.position for drift in after.drifts] == [40, 80, 120, 160]


def test_an_incremental_gain_grows_in_steps() -> None:
    """Each step is a concept of its own, and the last one is the whole change."""
    given, after = numbered(clients=1), played("gain:16,at=0.2,over=0.4,steps=4", clients=1)
    factor = after.shares[0].x[1:, 0, 0, 0] / given.shares[0].x[1:, 0, 0, 0]
    assert np.unique(factor.round(3)).tolist() == [1, 2, 4, 8, 16]
    assert (np.diff(factor) > -1e-3).all()
    assert after.concept_count == 5
    assert after.drifts == (Drift(0, 40, 120, "incremental", "gain"),)


def test_clients_have_their_own_shift_from_the_start() -> None:
    """A feature shift by client is no drift; each client has its concept."""
    after = played("gain:4,by=client,at=0")
    given = numbered()
    factors = [
        float(np.median(a.x[1:, 0, 0, 0] / b.x[1:, 0, 0, 0]))
        for a, b in zip(after.shares, given.shares, strict=True)
    ]
    assert len(set(factors)) == 4
    assert all(0.25 <= factor <= 4 for factor in factors)
    assert after.drifts == ()
    assert [set(concept) for concept in after.concepts] == [{0}, {1}, {2}, {3}]


def test_staggered_clients_change_each_at_its_own_time() -> None:
    """The moments are spread evenly over the stagger, and no two are the same."""
    after = played("swap:at=0.3 | stagger:0.3")
    assert sorted(drift.position for drift in after.drifts) == [60, 80, 100, 120]


def test_a_change_of_half_of_the_clients_leaves_the_others_alone() -> None:
    """Only they have drifts, and only their labels change."""
    after = played("swap:clients=0.5")
    touched = {drift.client for drift in after.drifts}
    assert len(touched) == 2
    for client, share in enumerate(after.shares):
        assert bool((share.y != original(share)).any()) == (client in touched)


def test_a_client_without_the_classes_has_no_drift() -> None:
    """No detector can be blamed for a change that did not happen there."""
    rows = np.zeros((50, 2), np.float32)
    share = Samples(rows, np.full(50, 2))
    given = Federation((share,), share, share.take(slice(0)), rows[:0], 20, (2,))
    found = [play(given, scenario("swap:classes=0.1"), seed) for seed in range(20)]
    assert {bool(each.drifts) for each in found} == {True, False}
    assert all(bool(each.drifts) == bool((each.shares[0].y != 2).any()) for each in found)


def test_tasks_come_one_after_the_other() -> None:
    """Class-incremental: a task's classes are there once, all at once, and its test has them alone."""
    after = played("tasks:5")
    for share, concepts in zip(after.shares, after.concepts, strict=True):
        assert (np.diff(concepts) >= 0).all()
        assert (share.y // 2 == concepts).all()
    assert [set(after.concept_test(task).y) for task in range(5)] == [{2 * t, 2 * t + 1} for t in range(5)]
    assert [drift.kind for drift in after.drifts] == ["classes"] * 16
    drawn = played("tasks:5,order=drawn")
    assert {frozenset(drawn.concept_test(task).y) for task in range(5)} != {frozenset((0, 1))}


def test_a_class_that_appears_was_not_there_before() -> None:
    """And the test of the time before does not ask for it."""
    after = played("appear:2,at=0.3")
    late = set(range(CLASSES)) - set(after.concept_test(0).y)
    assert len(late) == 2
    assert set(after.concept_test(1).y) == set(range(CLASSES))
    for client, share in enumerate(after.shares):
        at = next(drift.position for drift in after.drifts if drift.client == client)
        assert at == 60
        assert late.isdisjoint(set(share.y[:at]))
        assert late <= set(share.y[at:])
        assert (after.concepts[client] == (np.arange(200) >= at)).all()


def test_a_class_appears_earlier_where_the_others_are_used_up() -> None:
    """Nothing is thrown away to keep a moment."""
    after = played("appear:8,at=0.9")
    assert all(drift.position < 180 for drift in after.drifts)
    assert all(len(share) == 200 for share in after.shares)


def test_in_a_burst_one_class_dominates() -> None:
    """As long as there is enough of it; outside of bursts the order is kept."""
    after = played("burst:0.8,length=10,every=40")
    first = [drift for drift in after.drifts if drift.client == 0]
    assert [(drift.position, drift.end) for drift in first] == [(30 + 40 * i, 40 + 40 * i) for i in range(5)]
    most = [np.bincount(after.shares[0].y[drift.position : drift.end]).max() for drift in first[:3]]
    assert min(most) >= 8
    assert (np.diff(after.shares[0].x[:30, 0, 0, 0]) > 0).all()


def test_noise_has_the_size_asked_for_and_differs_by_sample() -> None:
    """Its unit is the deviation of the inputs."""
    given, after = numbered(clients=1), played("noise:0.5,at=0", clients=1)
    noise = after.shares[0].x - given.shares[0].x
    assert noise.std() == pytest.approx(0.5 * given.shares[0].x.std(), rel=0.1)
    assert len(np.unique(noise)) > 3000


def test_pace_is_told_and_samples_stay_as_they_are() -> None:
    """Delay and arrival are the client's and the round's business."""
    given = numbered()
    after = play(given, scenario("label_delay:5 | poisson | rush:3,every=4 | slow:0.5,clients=1"), 1)
    assert after.shares is given.shares
    assert (after.label_delay, after.arrivals.poisson, after.arrivals.rush, after.arrivals.every) == (
        5,
        True,
        3,
        4,
    )
    assert (after.arrivals.slow, after.arrivals.slow_clients) == (0.5, 1)
    assert (after.drifts, after.concepts, after.concept_count) == ((), (), 1)


def test_no_scenario_changes_nothing() -> None:
    """Experiments without one are what they were."""
    given = numbered()
    assert play(given, scenario(""), 1) is given


@pytest.mark.parametrize(
    ("text", "inputs", "message"),
    [
        ("rotate:30", "series", "`rotate` should have images as inputs"),
        ("noise:1", "symbols", "`noise` should have numbers as inputs"),
        ("tasks:11", "numbers", "at most as many as the classes, 10. Found 11"),
        ("appear:10", "numbers", "leave a class to begin with"),
    ],
)
def test_a_step_that_does_not_suit_the_data_is_refused(text: str, inputs: str, message: str) -> None:
    """A window of a recording is not turned, the code of a letter has no noise."""
    with pytest.raises(DataError, match=message):
        play(numbered(), scenario(text), 1, inputs=inputs)  # type: ignore[arg-type]


def test_digits_turned_are_still_digits() -> None:
    """The whole way, from settings to a test for each concept."""
    federation = federate(DataConfig(partition="iid", clients=3, scenario="rotate:90,at=0.5"), 1)
    plain, turned = federation.concept_test(0), federation.concept_test(1)
    assert np.allclose(turned.x, np.rot90(plain.x, axes=(2, 3)), atol=1e-5)
    assert np.array_equal(plain.y, turned.y)
    assert plain.x is federation.test.x or np.array_equal(plain.x, federation.test.x)


def test_lag_features_and_late_labels_do_not_go_together() -> None:
    """A lag feature is an earlier label, which is not known yet where labels come late."""
    with pytest.raises(DataError, match="earlier labels are then not known yet"):
        federate(DataConfig(lags=2, scenario="label_delay:5"), 1)
