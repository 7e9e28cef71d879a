"""From rows to a federation: nothing is lost, nothing is seen twice, and the seed decides all."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phloem.config import DataConfig
from phloem.errors import DataError
from phloem.simulation.data.federate import federate
from phloem.sources import open_federation

ELSEWHERE = """
import hashlib
from phloem.config import DataConfig
from phloem.simulation.data.federate import federate

federation = federate(DataConfig(), 3)
sha = hashlib.sha256(federation.proxy.tobytes())
for samples in (*federation.shares, federation.test, federation.validation):
    sha.update(samples.x.tobytes() + samples.y.tobytes())
print(sha.hexdigest())
"""


def fingerprint(seed: int) -> str:
    """Hash every byte of the digits' federation, in order."""
    federation = federate(DataConfig(), seed)
    sha = hashlib.sha256(federation.proxy.tobytes())
    for samples in (*federation.shares, federation.test, federation.validation):
        sha.update(samples.x.tobytes() + samples.y.tobytes())
    return sha.hexdigest()


def numbered(folder: Path, rows: int = 100, **arrays: Any) -> str:
    """Write rows that hold their own number, so that one can see where each has gone."""
    x = np.arange(rows, dtype=np.float32).reshape(rows, 1)
    np.savez(folder / "rows.npz", x=x, y=np.arange(rows) % 4, **arrays)
    return f"npz:{folder / 'rows.npz'}"


@pytest.mark.parametrize("partition", ["iid", "dirichlet:0.3", "blocks"])
def test_every_row_is_in_one_place_with_its_own_label(tmp_path: Path, partition: str) -> None:
    """Shares, test, validation and proxy are disjoint: the score is of unseen rows."""
    federation = federate(DataConfig(source=numbered(tmp_path), partition=partition, clients=6), 1)
    labelled = (*federation.shares, federation.test, federation.validation)
    rows = np.concatenate([*(part.x[:, 0] for part in labelled), federation.proxy[:, 0]])
    assert np.sort(rows).tolist() == list(range(100))
    assert [len(federation.test), len(federation.validation), len(federation.proxy)] == [20, 10, 10]
    assert all(np.array_equal(part.y, part.x[:, 0] % 4) for part in labelled)


def test_the_held_back_rows_do_not_depend_on_the_partition(tmp_path: Path) -> None:
    """Two partitions of one seed are scored on the same rows."""
    source = numbered(tmp_path)
    one = federate(DataConfig(source=source, partition="iid", clients=3), 1)
    other = federate(DataConfig(source=source, partition="dirichlet:0.1", clients=9), 1)
    assert np.array_equal(one.test.x, other.test.x)
    assert np.array_equal(one.proxy, other.proxy)


def test_blocks_arrive_in_the_files_order(tmp_path: Path) -> None:
    """What is held back leaves gaps, but does not disturb time."""
    federation = federate(DataConfig(source=numbered(tmp_path), partition="blocks", clients=4), 1)
    assert (np.diff(np.concatenate([share.x[:, 0] for share in federation.shares])) > 0).all()


def test_the_digits_are_images_in_0_to_1() -> None:
    """The embedded source needs no file and no network."""
    federation = federate(DataConfig(), 1)
    assert (federation.input_shape, federation.classes, len(federation.shares)) == ((1, 8, 8), 10, 20)
    assert federation.test.x.min() == 0
    assert federation.test.x.max() == 1
    assert set(federation.test.y) == set(range(10))


def test_the_seed_decides_everything_in_any_process(root: Path) -> None:
    """Each client process deals for itself; one that dealt differently would train on test rows."""
    here = fingerprint(3)
    command = [sys.executable, "-c", ELSEWHERE]
    there = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.strip()
    assert here == there
    assert here != fingerprint(4)


def test_the_global_generator_is_left_alone() -> None:
    """Opening data must not move anybody else's draws."""
    before = np.random.get_state(legacy=False)["state"]["key"].tobytes()
    federate(DataConfig(), 1)
    assert np.random.get_state(legacy=False)["state"]["key"].tobytes() == before


def test_a_sources_own_test_set_replaces_the_cut(tmp_path: Path) -> None:
    """Then no row is cut for a test, and the fraction does not count."""
    x_test = np.full((7, 1), 500, np.float32)
    source = numbered(tmp_path, x_test=x_test, y_test=np.zeros(7, int))
    federation = federate(DataConfig(source=source, partition="iid", clients=5, test_fraction=0.9), 1)
    assert np.array_equal(federation.test.x, x_test)
    assert sum(map(len, federation.shares)) == 80


def test_natural_clients_keep_their_own_rows(tmp_path: Path) -> None:
    """One device's data never reach another."""
    source = numbered(tmp_path, client=np.arange(100) // 10)
    federation = federate(DataConfig(source=source, partition="natural", clients=10), 1)
    for client, share in enumerate(federation.shares):
        assert set(share.x[:, 0] // 10) == {client}


def test_a_client_that_would_lose_all_its_rows_is_refused(tmp_path: Path) -> None:
    """Which clients there are must not depend on the seed."""
    source = numbered(tmp_path, client=np.arange(100))
    with pytest.raises(DataError, match="lost all"):
        federate(DataConfig(source=source, partition="natural", clients=100), 1)


def test_fractions_that_leave_nothing_are_refused() -> None:
    """The clients need something to learn from."""
    with pytest.raises(DataError, match="fractions should leave rows"):
        federate(DataConfig(test_fraction=0.5, validation_fraction=0.3, proxy_fraction=0.3), 1)


def test_a_fraction_of_nothing_is_allowed() -> None:
    """A run without distillation needs no proxy."""
    federation = federate(DataConfig(test_fraction=0, validation_fraction=0, proxy_fraction=0), 1)
    assert len(federation.test) == len(federation.validation) == len(federation.proxy) == 0
    assert sum(map(len, federation.shares)) == 1797


def test_a_source_with_a_stray_argument_is_refused() -> None:
    """`digits` takes none."""
    with pytest.raises(DataError, match="'digits' or 'npz:PATH'"):
        federate(DataConfig(source="digits:8"), 1)


def bad_rows(folder: Path) -> str:
    """Write a hundred numbered rows, of which every tenth has NaN and the fifth no label that is one."""
    x = np.arange(200, dtype=np.float32).reshape(100, 2)
    x[::10, 1] = np.nan
    y = np.arange(100) % 4
    y[5] = -1
    np.savez(folder / "bad.npz", x=x, y=y, client=np.arange(100) // 25)
    return f"npz:{folder / 'bad.npz'}"


def test_bad_rows_are_refused_dropped_or_filled_in_as_asked(tmp_path: Path) -> None:
    """Nothing is silent: what is left out is counted where it would have come."""
    source = bad_rows(tmp_path)
    told: dict[str, Any] = {"source": source, "partition": "natural", "clients": 4}
    with pytest.raises(DataError, match="finite"):
        federate(DataConfig(**told), 1)
    dropped = federate(DataConfig(bad_rows="drop", **told), 1)
    filled = federate(DataConfig(bad_rows="impute", **told), 1)
    kept = sum(map(len, (*dropped.shares, dropped.test, dropped.validation))) + len(dropped.proxy)
    lost = sum(map(len, dropped.dropped)) + dropped.dropped_held_back
    assert (kept, lost) == (89, 11)
    assert sum(map(len, filled.dropped)) + filled.dropped_held_back == 1
    for share, rows in zip(dropped.shares, dropped.dropped, strict=True):
        assert (np.diff(rows) >= 0).all()
        assert (rows <= len(share)).all()


def test_a_client_of_bad_rows_only_is_named(tmp_path: Path) -> None:
    """A client without data is a clear error, as it would be silent in every round."""
    x = np.ones((40, 1), np.float32)
    x[:10] = np.nan
    np.savez(tmp_path / "rows.npz", x=x, y=np.arange(40) % 2, client=np.arange(40) // 10)
    data = DataConfig(source=f"npz:{tmp_path / 'rows.npz'}", partition="natural", clients=4, bad_rows="drop")
    open_federation.cache_clear()
    with pytest.raises(DataError, match=r"1 sample at least. Found none in shares\[0\]"):
        open_federation(data, 1)


def test_only_the_first_rows_are_used_if_asked(tmp_path: Path) -> None:
    """A short run on a long file."""
    federation = federate(DataConfig(source=numbered(tmp_path), partition="blocks", clients=2, rows=50), 1)
    assert sum(map(len, federation.shares)) + len(federation.test) == 50 - 10
    assert max(share.x.max() for share in federation.shares) < 50


def test_standardising_is_fitted_on_what_clients_have(tmp_path: Path) -> None:
    """The test's rows do not move the scale they are measured with."""
    x = np.concatenate([np.random.default_rng(1).normal(5, 2, (80, 1)), np.full((20, 1), 1000.0)])
    np.savez(tmp_path / "rows.npz", x=x, y=np.arange(100) % 2, client=np.arange(100) // 20)
    data = DataConfig(
        source=f"npz:{tmp_path / 'rows.npz'}",
        partition="natural",
        clients=0,
        hold_out="clients:4",
        scale="standard",
        validation_fraction=0,
        proxy_fraction=0,
    )
    federation = federate(data, 1)
    values = np.concatenate([share.x for share in federation.shares])
    assert abs(float(values.mean())) < 1e-5
    assert abs(float(values.std()) - 1) < 1e-5
    assert (federation.test.x == 10).all(), "far outside, and cut"
    assert federation.client_names == ("0", "1", "2", "3")


def test_natural_clients_without_a_sample_left_are_refused_only_if_not_held_out_whole(tmp_path: Path) -> None:
    """Clients held out for the test are not lost."""
    source = numbered(tmp_path, client=np.arange(100) // 10)
    data = DataConfig(source=source, partition="natural", clients=8, hold_out="clients")
    assert len(federate(data, 1).shares) == 8


def test_labels_may_have_another_name(tmp_path: Path) -> None:
    """An archive may hold several targets."""
    source = numbered(tmp_path, family=np.arange(100) % 2)
    assert federate(DataConfig(source=source, label="family", partition="iid", clients=2), 1).classes == 2
