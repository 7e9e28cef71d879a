"""Partitions: the laws that hold for every one, and what each is for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from phloem.errors import DataError
from phloem.seeds import generator
from phloem.simulation.data.partitions import Rows, partition

Labels = NDArray[np.int64]
TEXTS = [
    *(
        "iid",
        "blocks",
        "natural",
        "dirichlet:0.3",
        "dirichlet:1e-6",
        "dirichlet:1e6",
        "quantity:0",
        "quantity:2",
    ),
    *("turns", "turns:24", "pathological:6"),
]


def balanced(rows: int, classes: int = 10) -> Labels:
    """Return shuffled labels with equal classes."""
    return generator(0, "labels").permutation(np.arange(rows, dtype=np.int64) % classes)


def deal(text: str, y: Labels, clients: int, seed: int = 1) -> tuple[Rows, ...]:
    """Deal the rows, with ids that go round the clients."""
    ids = np.arange(len(y)) % clients
    return partition(text).deal(y, ids, clients, generator(seed, "partition"))


def skew(shares: tuple[Rows, ...], y: Labels, classes: int = 10) -> float:
    """Return the mean total variation between a client's label mix and everybody's."""
    everybody = np.bincount(y, minlength=classes) / len(y)
    mixes = [np.bincount(y[share], minlength=classes) / len(share) for share in shares]
    return float(np.mean([np.abs(mix - everybody).sum() / 2 for mix in mixes]))


@pytest.mark.parametrize("text", TEXTS)
@given(rows=st.integers(1, 200), classes=st.integers(1, 6), data=st.data())
def test_shares_are_disjoint_cover_all_rows_and_none_is_empty(
    text: str, rows: int, classes: int, data: st.DataObject
) -> None:
    """Every row has one owner, every client a sample, even with as many clients as rows."""
    clients = data.draw(st.integers(1, rows))
    shares = deal(text, np.arange(rows, dtype=np.int64) % classes, clients)
    assert len(shares) == clients
    assert min(map(len, shares)) >= 1
    assert np.sort(np.concatenate(shares)).tolist() == list(range(rows))


@pytest.mark.parametrize("text", TEXTS)
def test_the_same_seed_deals_the_same(text: str) -> None:
    """Server and every client deal for themselves, and must agree to the row and its place."""
    y = balanced(500)
    first, again = deal(text, y, 7), deal(text, y, 7)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize("text", ["iid", "dirichlet:0.3", "quantity:1", "pathological:2"])
def test_another_seed_deals_differently(text: str) -> None:
    """Seeds are independent repetitions."""
    y = balanced(500)
    assert not np.array_equal(deal(text, y, 7, seed=1)[0], deal(text, y, 7, seed=2)[0])


@pytest.mark.parametrize("text", ["blocks", "natural", "turns", "turns:3"])
def test_ordered_partitions_keep_the_order_of_the_file(text: str) -> None:
    """A recording or a market stays in time order, which is what makes it a stream."""
    shares = deal(text, balanced(100), 7)
    assert all((np.diff(share) > 0).all() for share in shares)


def test_blocks_are_contiguous_and_equal() -> None:
    """Block i is the i-th stretch of the file."""
    shares = deal("blocks", balanced(100), 8)
    assert np.concatenate(shares).tolist() == list(range(100))
    assert {len(share) for share in shares} == {12, 13}


def test_iid_shares_are_equal_in_size() -> None:
    """Sizes differ by one at most."""
    assert {len(share) for share in deal("iid", balanced(100), 8)} == {12, 13}


def test_skew_falls_as_alpha_rises_down_to_that_of_iid() -> None:
    """ALPHA is the one knob of non-iid: small is one class a client, large is iid."""
    y = balanced(5000)
    alphas = ["1e-6", "0.1", "1", "10", "1e6"]
    skews = [skew(deal(f"dirichlet:{alpha}", y, 10), y) for alpha in alphas]
    assert skews == sorted(skews, reverse=True)
    assert skews[0] > 0.7
    assert skews[-1] <= skew(deal("iid", y, 10), y)


def test_a_dirichlet_share_does_not_arrive_class_by_class() -> None:
    """Arrival is shuffled within a client: drift is a matter of the scenario, not of the dealing."""
    y = balanced(2000)
    share = max(deal("dirichlet:1", y, 5), key=len)
    assert (np.diff(y[share]) != 0).mean() > 0.5


def test_natural_clients_are_the_ids_in_their_sorted_order() -> None:
    """Client i is the same person in every run, as ids are names and not draws."""
    ids = np.array(["eve", "bob", "eve", "ann"])
    shares = partition("natural").deal(np.zeros(4, np.int64), ids, 0, generator(1))
    assert [share.tolist() for share in shares] == [[3], [1], [0, 2]]


def test_natural_without_ids_or_with_another_number_of_clients_is_refused() -> None:
    """The number of clients is a fact of such data, not a choice."""
    y = np.zeros(4, np.int64)
    with pytest.raises(DataError, match=r"array `client`"):
        partition("natural").deal(y, None, 4, generator(1))
    with pytest.raises(DataError, match=r"should be 2, the number of ids"):
        partition("natural").deal(y, np.array([1, 2, 1, 2]), 4, generator(1))


@pytest.mark.parametrize("text", ["iid", "blocks", "dirichlet:1"])
@pytest.mark.parametrize("clients", [0, 11])
def test_a_client_without_a_sample_is_refused(text: str, clients: int) -> None:
    """More clients than samples cannot be dealt to."""
    with pytest.raises(DataError, match=r"`data.clients` should be in 1\.\.10"):
        partition(text).deal(np.zeros(10, np.int64), None, clients, generator(1))


@pytest.mark.parametrize(
    "text",
    [
        *("", "IID", "iid:", "iid:3", "blocks:2", "natural:", "shards", "dirichlet", "dirichlet:"),
        *(f"dirichlet:{alpha}" for alpha in ("x", "0", "-1", "nan", "inf", "1e7", "0.3:2")),
        *("quantity", "quantity:-1", "quantity:11", "pathological", "pathological:0", "pathological:1.5"),
        *("turns:", "turns:0", "turns:-1", "turns:²"),
    ],
)
def test_a_wrong_text_is_refused(text: str) -> None:
    """What is not understood is not guessed at."""
    with pytest.raises(DataError, match=r"`data.partition` should be"):
        partition(text)


def test_natural_names_another_array_of_ids() -> None:
    """Many data sets have two: a person and a device."""
    assert partition("natural").ids_name == "client"
    assert partition("natural:subject").ids_name == "subject"


@given(clients=st.integers(1, 12), count=st.integers(1, 12), classes=st.integers(1, 10))
def test_a_pathological_client_has_its_number_of_classes(clients: int, count: int, classes: int) -> None:
    """K classes at most, each class has an owner, and owners of a class share it evenly."""
    y = balanced(40 * classes, classes)
    if clients * min(count, classes) < classes:
        with pytest.raises(DataError, match="no class without a client"):
            deal(f"pathological:{count}", y, clients)
        return
    shares = deal(f"pathological:{count}", y, clients)
    had = np.stack([np.bincount(y[share], minlength=classes) for share in shares])
    assert ((had > 0).sum(axis=1) == min(count, classes)).all()
    assert (had.sum(axis=0) == 40).all()
    assert all(np.ptp(column[column > 0]) <= 1 for column in had.T)


def test_quantity_skew_rises_with_sigma_and_leaves_the_mix_of_classes_alone() -> None:
    """Sizes differ, labels do not; SIGMA 0 is iid."""
    y = balanced(5000)
    sizes = [[len(share) for share in deal(f"quantity:{sigma}", y, 10)] for sigma in (0, 0.5, 2)]
    assert set(sizes[0]) == {500}
    assert np.std(sizes[0]) < np.std(sizes[1]) < np.std(sizes[2])
    assert skew(tuple(share for share in deal("quantity:1", y, 10) if len(share) > 200), y) < 0.12


def test_turns_go_round_so_that_time_runs_on_together() -> None:
    """At any time every client has seen as much as the others, to a turn."""
    assert [share.tolist() for share in deal("turns:2", balanced(10), 2)] == [
        [0, 1, 4, 5, 8, 9],
        [2, 3, 6, 7],
    ]
    assert [share.tolist() for share in deal("turns", balanced(5), 2)] == [[0, 2, 4], [1, 3]]
