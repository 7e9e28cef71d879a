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
