"""A device holds what its app needs: no torch for an app with NumPy, no SciPy for numba's sake."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def run(program: str, root: Path) -> None:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *filter(None, sys.path)])}
    done = subprocess.run(
        [sys.executable, "-c", program], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_light_app_brings_nothing_heavy(root: Path) -> None:
    """`phloem join` with an app of NumPy alone stays small: what it imports is what it costs."""
    run(
        "import sys, phloem.cli.main, phloem.client.link.join, phloem.client.link.echo\n"
        "found = {'torch', 'numba', 'scipy', 'sklearn', 'pydantic_core', 'river'} & set(sys.modules)\n"
        "assert not found, found",
        root,
    )


def test_numba_begins_without_scipy_and_finds_it_later(root: Path) -> None:
    """Kernels run without SciPy's linear algebra in memory; whoever needs that gets it."""
    run(
        "import sys, numpy, phloem\n"
        "codec = phloem.codec('topk:0.1 | linear:4 | rans')\n"
        "from phloem.client.link.memory import shed, spare_scipy\n"
        "spare_scipy()\n"
        "update = {'w': numpy.random.default_rng(1).normal(size=(40, 40)).astype('f4')}\n"
        "blob, _ = codec.encode(update, state=None, seed=0)\n"
        "assert 'scipy.linalg' not in sys.modules\n"
        "shed()\n"
        "codec.decode(blob, phloem.Schema.of(update))\n"
        "import scipy.linalg\n"
        "from numba.np.linalg import ensure_lapack\n"
        "ensure_lapack()\n"
        "assert scipy.linalg.det([[2.0]]) == 2.0",
        root,
    )
