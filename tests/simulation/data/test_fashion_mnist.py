"""A real data set of 60 000 images, where it is at hand."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from phloem.config import DataConfig
from phloem.simulation.data.federate import federate


def test_fashion_mnist_is_dealt_to_ten_clients(root: Path) -> None:
    """The common spelling, uint8 images and a published test set, at full size."""
    folder = Path(os.environ.get("PHLOEM_DATA", root.parent / "shared" / "data"))
    path = folder / "fashion_mnist.npz"
    if not path.is_file():
        pytest.skip(f"fashion_mnist.npz is not in {folder}; set PHLOEM_DATA to the folder that holds it")
    data = DataConfig(source=f"npz:{path}", partition="dirichlet:0.3", clients=10)
    federation = federate(data, 1)
    assert (federation.input_shape, federation.classes) == ((1, 28, 28), 10)
    assert [len(federation.test), len(federation.validation), len(federation.proxy)] == [10_000, 6_000, 6_000]
    assert sum(map(len, federation.shares)) == 48_000
    assert (float(federation.test.x.min()), float(federation.test.x.max())) == (0, 1)
    assert np.bincount(federation.test.y).tolist() == [1_000] * 10
    mixes = np.stack([np.bincount(share.y, minlength=10) / len(share) for share in federation.shares])
    assert mixes.max(axis=1).mean() > 0.3, "label skew at ALPHA=0.3"
