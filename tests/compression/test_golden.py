"""Frames of every released version decode for ever, to the same bits.

Each folder in `golden/` holds a frame and a description of it. They are made once and then only read:
when a test here fails, the decoder is wrong, not the file. A new codec, or a new format of an old one,
gets a new folder, from the root of the checkout:

    python -c "from tests.compression.test_golden import add; add('topk:0.1 | linear:4')"
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from phloem.compression.codec import codec
from phloem.compression.frame import FORMAT, peek
from phloem.compression.registry import FEEDBACKS, names
from phloem.compression.update import Schema, TensorSpec, digest

GOLDEN = Path(__file__).parent / "golden"
FOLDERS = sorted(path for path in GOLDEN.iterdir() if path.is_dir())


def add(text: str) -> None:
    """Make the golden file of a codec, where there is none."""
    rng = np.random.default_rng(FORMAT)
    update = {
        "kernel": rng.standard_normal((8, 4, 3, 3), np.float32) ** 3,
        "weight": rng.standard_normal((10, 26), np.float32) * np.float32(0.001),
        "bias": rng.standard_normal(10, np.float32),
        "zero": np.zeros((2, 3), np.float32),
        "scale": np.array(1.5, np.float32),
        "none": np.zeros((0, 2), np.float32),
    }
    schema = Schema.of(update)
    blob, _ = codec(text).encode(update, seed=1, base=2, seq=300)
    about = {
        "codec": str(codec(text)),
        "base": 2,
        "seq": 300,
        "tensors": {tensor.name: tensor.shape for tensor in schema.tensors},
        "sha256": digest(codec(text).decode(blob, schema)),
    }
    folder = GOLDEN / f"{re.sub('[^a-z0-9.]+', '-', str(codec(text)))}-v{FORMAT}"
    folder.mkdir()
    (folder / "frame.bin").write_bytes(blob)
    (folder / "about.json").write_text(json.dumps(about) + "\n")


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.name))
def test_golden_files_decode(folder: Path) -> None:
    """A server understands the devices that nobody has updated."""
    about = json.loads((folder / "about.json").read_text())
    blob = (folder / "frame.bin").read_bytes()
    schema = Schema(tuple(TensorSpec(name, tuple(shape)) for name, shape in about["tensors"].items()))
    assert digest(codec(about["codec"]).decode(blob, schema)) == about["sha256"]
    assert (peek(blob).base, peek(blob).seq) == (about["base"], about["seq"])


def test_every_codec_has_a_golden_file() -> None:
    """Nothing is released whose bytes are not pinned."""
    texts = [json.loads((folder / "about.json").read_text())["codec"] for folder in FOLDERS]
    used = {part.split(":")[0] for text in texts for part in text.split(" | ")}
    assert used | set(FEEDBACKS) >= set(names())
