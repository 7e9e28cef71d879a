"""The public data sets and their traps, where they are at hand: what a careless loader would get wrong."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from phloem.config import DataConfig
from phloem.errors import DataError
from phloem.federation import Federation
from phloem.simulation.data.elec2 import earlier
from phloem.simulation.data.federate import federate
from phloem.simulation.data.kdd99 import COLUMNS, encoded
from phloem.simulation.data.tinyshakespeare import speeches, windows

FILES = {
    "fashion_mnist": "fashion_mnist.npz",
    "elec2": "elec2.npz",
    "wisdm_ar": "wisdm_ar.npz",
    "kdd99": "kdd99_10pct.npz",
    "tinyshakespeare": "tinyshakespeare.npz",
    "fsdd_logmel": "fsdd_logmel.npz",
    "watch_har": "watch_har.npz",
}


@pytest.fixture
def folder(root: Path) -> Path:
    """Where the data sets are."""
    return Path(os.environ.get("PHLOEM_DATA", root.parent / "shared" / "data"))


def path_of(folder: Path, name: str) -> Path:
    """Return the file of a data set, or skip the test."""
    path = folder / FILES[name]
    if not path.is_file():
        pytest.skip(f"{path.name} is not in {folder}; set PHLOEM_DATA to the folder that holds it")
    return path


def opened(folder: Path, name: str, **settings: Any) -> Federation:
    """Open a data set by its name."""
    return federate(DataConfig(source=f"{name}:{path_of(folder, name)}", **settings), 1)


def arrays(folder: Path, name: str) -> dict[str, NDArray[Any]]:
    """Return what is in the file."""
    with np.load(path_of(folder, name)) as archive:
        return {each: archive[each] for each in archive.files}


@pytest.mark.parametrize("name", FILES)
def test_a_missing_path_says_what_is_needed(name: str, tmp_path: Path) -> None:
    """The error names the file and its arrays, and another file is not taken for the set."""
    with pytest.raises(DataError, match=f"as in '{name}:PATH'. Found no path. Name its .npz file, with"):
        federate(DataConfig(source=f"{name}:"), 1)
    with pytest.raises(DataError, match="Found no file"):
        federate(DataConfig(source=f"{name}:{tmp_path / 'none.npz'}"), 1)
    np.savez(tmp_path / "other.npz", z=np.zeros(3))
    with pytest.raises(DataError, match=f"should be the data set {name}"):
        federate(DataConfig(source=f"{name}:{tmp_path / 'other.npz'}"), 1)


def test_fashion_mnist_is_scaled_and_tested_on_its_own_test_set(folder: Path) -> None:
    """Bytes become 0..1; validation is cut from the training set; there are no natural clients to invent."""
    federation = opened(folder, "fashion_mnist", clients=5, partition="pathological:2")
    assert [len(federation.test), len(federation.validation), len(federation.proxy)] == [10_000, 6_000, 6_000]
    assert (float(federation.test.x.max()), federation.input_shape) == (1, (1, 28, 28))
    assert all(len(np.unique(share.y)) == 2 for share in federation.shares)
    with pytest.raises(DataError, match="no natural clients"):
        opened(folder, "fashion_mnist", partition="natural", clients=0)


def test_elec2_keeps_its_time_whatever_the_partition(folder: Path) -> None:
    """Row order is time; a test is the last part, never rows in between."""
    raw = arrays(folder, "elec2")
    for partition in ("turns:48", "blocks", "iid"):
        federation = opened(folder, "elec2", partition=partition, clients=4)
        place = {row.tobytes(): i for i, row in reversed(list(enumerate(federation.test.x)))}
        assert len(place) > 9000
    share = opened(folder, "elec2", partition="iid", clients=1, test_fraction=0, proxy_fraction=0).shares[0]
    begin = round(0.1 * len(raw["y"]))
    assert np.array_equal(share.y, raw["y"][begin:])
    with pytest.raises(DataError, match="should be 'time'"):
        opened(folder, "elec2", hold_out="rows")


def test_elec2_leaves_out_what_gives_the_label_away(folder: Path) -> None:
    """The period's own price, compared with the last day's mean, is the label; the date steps back."""
    raw = arrays(folder, "elec2")
    plain = opened(folder, "elec2", partition="blocks", clients=1, test_fraction=0)
    assert plain.input_shape == (8,)
    for column in (0, 3):
        values = raw["X"][-len(plain.shares[0]) :, column]
        assert not any(np.allclose(values, plain.shares[0].x[:, i]) for i in range(8))
    assert np.abs(plain.shares[0].x).max() <= 1, "the day of the week is scaled as well"


def test_elec2s_lag_features_are_of_earlier_periods_only(folder: Path) -> None:
    """The first of them is the no-change predictor, 0.853, and nothing predicts perfectly."""
    federation = opened(folder, "elec2", partition="blocks", clients=1, lags=2, test_fraction=0)
    share = federation.shares[0]
    assert federation.input_shape == (8 + 3 * 4,)
    for column, lag in ((8, 1), (12, 2), (16, 48)):
        assert np.array_equal(share.x[lag:, column] > 0, share.y[:-lag] == 1)
    right = [max(((share.x[:, i] > 0) == (share.y == k)).mean() for k in (0, 1)) for i in range(20)]
    assert right[8] == max(right) == pytest.approx(0.853, abs=0.01)


def test_a_lag_feature_knows_no_price_and_no_label_of_its_own_row() -> None:
    """Change them in row t: features of rows up to t stay, some of a later one change."""
    rng = np.random.default_rng(1)
    x, y = rng.random((200, 8)).astype(np.float32), rng.integers(0, 2, 200)
    before = earlier(x, y, 3)
    x[120, 3], y[120] = 9, 1 - y[120]
    after = earlier(x, y, 3)
    assert np.array_equal(before[48:121], after[48:121])
    assert not np.array_equal(before[121], after[121])


def test_wisdm_is_tested_on_users_that_were_never_seen(folder: Path) -> None:
    """The published split by user; users' rows are found although they do not all stand together."""
    raw = arrays(folder, "wisdm_ar")
    federation = opened(folder, "wisdm_ar", partition="natural", clients=0, hold_out="clients:29-36")
    assert len(federation.test) == (raw["user"] >= 29).sum()
    assert federation.client_names == tuple(map(str, range(1, 29)))
    drawn = opened(folder, "wisdm_ar", partition="natural", clients=0)
    assert len(drawn.shares) == 29, "a fifth of 36 users is 7"


def test_wisdms_gaps_are_filled_and_its_scales_made_equal_by_training_users(folder: Path) -> None:
    """615 NaN, a constant column, scales a thousandfold apart; and the test users do not count."""
    data = {"partition": "natural", "clients": 0, "validation_fraction": 0, "proxy_fraction": 0}
    federation = opened(folder, "wisdm_ar", hold_out="clients:29-36", **data)
    x = np.concatenate([share.x for share in federation.shares])
    assert np.isfinite(x).all()
    assert np.isfinite(federation.test.x).all()
    assert not x[:, 30].any()
    others = np.delete(np.arange(43), 30)
    assert np.abs(x[:, others].mean(axis=0)).max() < 0.05
    assert x[:, others].std(axis=0) == pytest.approx(1, abs=0.15), "but for what is cut at ten deviations"
    assert np.abs(federation.test.x[:, others].mean(axis=0)).max() > 0.1, (
        "the scale is not fitted on the test"
    )
    raw = arrays(folder, "wisdm_ar")
    gaps = np.isnan(raw["X"][raw["user"] < 29][:, 33:36]).sum()
    assert (np.abs(x[:, 33:36]) < 1e-6).sum() >= gaps > 400


def test_kdd99_is_split_by_time_or_with_equal_rows_together(folder: Path) -> None:
    """Two rows in three are copies: a careless random split would test on what was learned."""
    short = {"rows": 40_000, "partition": "turns", "clients": 3}
    in_time = opened(folder, "kdd99", **short)
    raw = arrays(folder, "kdd99")
    assert np.array_equal(in_time.test.y, raw["family"][32_000:40_000] > 0)
    drawn = opened(folder, "kdd99", hold_out="rows", **short)
    tested = {row.tobytes() for row in drawn.test.x}
    learned = {row.tobytes() for share in drawn.shares for row in share.x}
    assert tested.isdisjoint(learned)
    assert 0.15 < len(drawn.test) / 40_000 < 0.25


def test_kdd99s_counters_are_logarithms_and_its_codes_columns(folder: Path) -> None:
    """No input is far from 0..1, no code is taken for a size, and two constant columns are gone."""
    federation = opened(folder, "kdd99", rows=20_000, partition="turns", clients=2)
    assert (federation.input_shape, federation.classes) == ((36 + 3 + 67 + 11,), 2)
    x = np.concatenate([share.x for share in federation.shares])
    assert x.min() >= 0
    assert x.max() < 3
    assert (x[:, 36:].sum(axis=1) == 3).all(), "one protocol, one service, one flag"
    assert opened(folder, "kdd99", rows=20_000, clients=2, label="family").classes == 5


def test_large_counters_stay_apart() -> None:
    """Bytes beyond float32's whole numbers differ by their logarithm, alike in any part of a file."""
    rows = np.zeros((3, COLUMNS), np.float32)
    rows[:, 4] = [0, 1e3, 6.9e8]
    values = encoded(rows, {1: 3, 2: 67, 3: 11})
    assert np.array_equal(values[:1], encoded(rows[:1], {1: 3, 2: 67, 3: 11}))
    assert len(np.unique(values[:, 1])) == 3
    assert values.max() < 2.1


def test_shakespeares_symbols_are_codes_and_names_are_gone(folder: Path) -> None:
    """65 codes from 0 up; no window begins with the line that tells who speaks."""
    raw = arrays(folder, "tinyshakespeare")
    federation = opened(folder, "tinyshakespeare", partition="natural", clients=0)
    x = np.concatenate([share.x for share in federation.shares])
    assert (federation.classes, federation.input_shape) == (65, (32,))
    assert np.array_equal(x, np.rint(x))
    assert set(np.unique(x)) <= set(range(65))
    assert 130 < len(federation.shares) < 150
    assert len(set(federation.client_names)) == len(federation.client_names)
    assert not any(name != name.upper() for name in federation.client_names), "`All` and `ALL` are one"
    spoken = dict(speeches(*(raw[name] for name in ("text", "utterance_start", "speaker", "speaker_names"))))
    first = bytes(spoken["FIRST CITIZEN"][:24]).decode()
    assert first == "Before we proceed any fu"
    assert sum(map(len, spoken.values())) < len(raw["text"]) - 7220 * 4


def test_every_speaker_is_on_both_sides(folder: Path) -> None:
    """A split by position would have many speakers on one side only."""
    federation = opened(folder, "tinyshakespeare", partition="natural", clients=0, test_fraction=0.1)
    kept = sum(map(len, federation.shares))
    assert len(federation.test) / (kept + len(federation.test)) == pytest.approx(0.11, abs=0.02)
    assert min(map(len, federation.shares)) > 50


def test_a_window_is_followed_by_its_label() -> None:
    """The label is the symbol after the window, and windows step a quarter."""
    x, y = windows(np.arange(20), 8)
    assert x[:, 0].tolist() == [0, 2, 4, 6, 8, 10]
    assert y.tolist() == [8, 10, 12, 14, 16, 18]
    assert len(windows(np.arange(8), 8)[1]) == 0


def test_symbols_have_no_noise_and_no_scale(folder: Path) -> None:
    """Code 12.3 is no letter."""
    for wrong in ({"scenario": "noise:1"}, {"scale": "standard"}):
        with pytest.raises(DataError, match=r"symbols|codes"):
            opened(folder, "tinyshakespeare", **wrong)


def test_fsdds_clips_have_one_level_and_its_own_test(folder: Path) -> None:
    """Speakers' levels differ by four; takes 0 to 4 are the test, or a speaker nobody has heard."""
    federation = opened(folder, "fsdd_logmel", partition="natural", clients=0)
    assert [len(federation.shares), len(federation.test)] == [5, 250]
    clips = np.concatenate([share.x for share in federation.shares])
    assert np.abs(clips.mean(axis=(1, 2, 3))).max() < 1e-4
    assert np.abs(clips.std(axis=(1, 2, 3)) - 1).max() < 1e-3
    unseen = opened(folder, "fsdd_logmel", partition="natural", clients=0, hold_out="clients:yweweler")
    assert [len(unseen.shares), len(unseen.test)] == [4, 500]
    assert "yweweler" not in unseen.client_names


def test_watch_windows_are_split_by_subject_and_recording(folder: Path) -> None:
    """They overlap by half: neighbours on two sides would be the same data."""
    raw = arrays(folder, "watch_har")
    federation = opened(folder, "watch_har", partition="natural", clients=0, hold_out="clients:7-8")
    assert (federation.input_shape, len(federation.shares)) == ((1, 100, 6), 6)
    assert len(federation.test) == (raw["subject"] >= 7).sum()
    sides = opened(folder, "watch_har", partition="natural:side", clients=0)
    people = {name.partition("-")[0] for name in sides.client_names}
    assert len(sides.client_names) == 2 * len(people) == 12, "both sides of a held-out subject are held out"
    recordings = np.split(raw["y"], np.flatnonzero(np.diff(raw["recording"].astype(int))) + 1)
    lengths = {len(each) for each in recordings}
    assert len(sides.validation) > min(lengths), "whole recordings"


def test_watch_channels_have_one_scale(folder: Path) -> None:
    """Metres per second squared and radians per second become deviations, by the training subjects."""
    told = {"partition": "natural", "clients": 0, "validation_fraction": 0, "proxy_fraction": 0}
    x = np.concatenate([share.x for share in opened(folder, "watch_har", **told).shares])
    assert np.allclose(x.mean(axis=(0, 1, 2)), 0, atol=0.01)
    assert np.allclose(x.std(axis=(0, 1, 2)), 1, atol=0.02)
    with pytest.raises(DataError, match=r"'subject' or 'side'\. Found 'hand'"):
        opened(folder, "watch_har", partition="natural:hand", clients=0)
