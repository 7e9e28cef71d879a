"""What is held back: disjoint, of the asked size, in time where time counts, whole people where asked."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phloem.config import DataConfig
from phloem.errors import DataError
from phloem.seeds import generator
from phloem.simulation.data.holdout import Held, hold_out
from phloem.simulation.data.table import Table


def table(rows: int = 100, **facts: object) -> Table:
    """Make rows that hold their own number; ten natural clients take turns."""
    numbers = np.arange(rows)
    told = {"ids": numbers % 10, **facts}
    return Table(numbers.reshape(-1, 1).astype(np.float32), numbers % 3, **told)  # type: ignore[arg-type]


def cut(rows: Table, how: str, *, natural: bool = False, seed: int = 1, **fractions: float) -> Held:
    """Hold out as a text says."""
    data = DataConfig(hold_out=how, **fractions)  # type: ignore[arg-type]
    return hold_out(rows, data, generator(seed, "hold back"), natural=natural)


@pytest.mark.parametrize("how", ["rows", "time", "clients", "clients:3,5-7"])
@pytest.mark.parametrize("grouped", [False, True])
@given(rows=st.integers(40, 200), seed=st.integers(0, 3))
def test_the_parts_are_disjoint_and_together_all(how: str, grouped: bool, rows: int, seed: int) -> None:
    """No row is learned from and tested on."""
    groups = np.arange(rows) // 4 if grouped else None
    held = cut(table(rows, groups=groups), how, seed=seed)
    parts = np.concatenate([held.test, held.validation, held.proxy, held.rest])
    assert np.sort(parts).tolist() == list(range(rows))


def test_time_keeps_the_past_before_the_future() -> None:
    """What the server has was there first, then the clients learn, then they are tested."""
    held = cut(table(ordered=True), "time")
    assert held.proxy.tolist() == list(range(10))
    assert held.validation.tolist() == list(range(10, 20))
    assert held.rest.tolist() == list(range(20, 80))
    assert held.test.tolist() == list(range(80, 100))


def test_time_of_natural_clients_is_their_own() -> None:
    """Each client's last rows are its test, so that nobody is on one side only."""
    held = cut(table(), "time", natural=True)
    assert held.test.tolist() == list(range(80, 100))
    assert {int(row) % 10 for row in held.rest} == set(range(10))


def test_a_random_cut_of_rows_in_time_is_refused() -> None:
    """The test would lie between rows that are learned from; without a cut there is nothing to refuse."""
    with pytest.raises(DataError, match="should be 'time' for rows in the order of time"):
        cut(table(ordered=True), "rows")
    held = cut(table(ordered=True), "rows", test_fraction=0, validation_fraction=0, proxy_fraction=0)
    assert len(held.rest) == 100


def test_groups_stay_together() -> None:
    """Overlapping windows of one recording are on one side, and the sizes are about those asked for."""
    groups = np.repeat(np.arange(20), [3, 7] * 10)
    held = cut(table(groups=groups), "rows")
    parts = [held.test, held.validation, held.proxy, held.rest]
    owned = [set(groups[part]) for part in parts]
    assert sum(map(len, owned)) == len(set().union(*owned)) == 20
    assert [len(part) for part in parts] == pytest.approx([20, 10, 10, 60], abs=7)


def test_unseen_clients_are_unseen() -> None:
    """A fifth of ten clients is two, and none of their rows is anywhere else."""
    held = cut(table(), "clients")
    unseen = set(held.test % 10)
    assert len(unseen) == 2
    assert len(held.test) == 20
    assert unseen.isdisjoint(set(np.concatenate([held.rest, held.validation, held.proxy]) % 10))


def test_clients_are_named_by_id_and_range() -> None:
    """Published splits can be repeated."""
    held = cut(table(), "clients:2,5-7")
    assert set(held.test % 10) == {2, 5, 6, 7}
    names = np.array(["ann", "bob-2", "eve"])[np.arange(90) % 3]
    assert set(cut(table(90, ids=names), "clients:bob-2").test % 3) == {1}


def test_both_hands_of_a_person_are_held_out_together() -> None:
    """A subject's other side is no unseen subject."""
    held = cut(table(people=np.arange(100) % 10 // 2), "clients:3")
    assert set(held.test % 10) == {6, 7}


def test_a_source_says_what_auto_is_and_its_own_test_set_is_kept() -> None:
    """Each set's safe way is the default, and a published test set comes before it."""
    assert set(cut(table(hold_out="clients"), "auto").test % 10) != set(range(10))
    own = table(test=table(5), hold_out="clients")
    assert len(cut(own, "auto").test) == 0
    assert len(cut(own, "rows").test) == 20


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("row", "should be 'auto', 'rows', 'time', 'clients' or 'clients:IDS'. Found 'row'"),
        ("clients:11", "should name clients that there are, such as 0, 1, 2.* Found '11'"),
        ("clients:8-12", "Found '10'"),
        ("clients:0-9", "Found all of them"),
    ],
)
def test_a_wrong_text_is_refused(how: str, message: str) -> None:
    """An unknown id is not taken for nobody."""
    with pytest.raises(DataError, match=message):
        cut(table(), how)


def test_clients_of_data_without_any_are_refused() -> None:
    """There is nobody to leave out."""
    with pytest.raises(DataError, match="without natural clients"):
        cut(table(ids=None), "clients")
