"""`phloem bench codecs`: sizes of real bytes, errors of what was really decoded, nobody left out silently."""

from __future__ import annotations

import io
import json
import math
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from phloem.bench import bounds, page, peers
from phloem.bench.codecs import measure
from phloem.bench.contenders import MADE, PRESETS, Coder, chosen, lineup
from phloem.bench.duel import Duel, fight
from phloem.bench.plot import scatter
from phloem.bench.vectors import Vector, load, synthetic
from phloem.cli.console import BAD_INPUT, OK
from phloem.cli.main import app
from phloem.compression.codec import codec
from phloem.compression.update import Schema, nmse
from phloem.errors import DataError

run = CliRunner().invoke
RNG = np.random.default_rng(1)
UPDATE = {"w": RNG.standard_normal((31, 77), np.float32), "b": RNG.standard_normal(5, np.float32)}


@pytest.fixture
def vector(tmp_path: Path) -> Path:
    """An update in a file, of an odd number of values."""
    np.savez(tmp_path / "mine.npz", w=UPDATE["w"], b=UPDATE["b"])
    return tmp_path / "mine.npz"


def test_rows_say_what_was_encoded_and_decoded(vector: Path) -> None:
    """A row's size is the frame's length, and its error that of the decoded frame."""
    result = measure([load(vector)], list(chosen(["linear:4", "linear:4", "dense"])), repeats=1)
    assert [row.codec for row in result.rows] == ["linear:4", "dense"]
    blob, _ = codec("linear:4").encode(UPDATE)
    first = result.rows[0]
    assert first.vector == "mine"
    assert first.bpp == 8 * len(blob) / Schema.of(UPDATE).parameters
    assert first.nmse == nmse(UPDATE, codec("linear:4").decode(blob, Schema.of(UPDATE)))
    assert min(first.encode_mbps, first.decode_mbps, first.memcpy_mbps) > 0


def test_json_has_what_the_design_promises(vector: Path) -> None:
    """Rows of six columns and the machine's speed, for whoever compares releases."""
    arguments = ["bench", "codecs", "--quick", "--json", "--codec", "fp16", "--vector", str(vector)]
    done = run(app, arguments)
    assert done.exit_code == OK
    found = json.loads(done.stdout)
    assert [row["vector"] for row in found["rows"]] == ["mine", "gau16k", "lap16k"]
    wanted = {"vector", "codec", "bpp", "nmse", "encode_mbps", "decode_mbps", "memcpy_mbps"}
    assert all(wanted <= row.keys() for row in found["rows"])
    assert found["memcpy_mbps"] > 0
    assert {point["line"] for point in found["references"]} == {bounds.ORDER_0, bounds.GAUSSIAN}


def test_the_page_and_its_plots(vector: Path, tmp_path: Path) -> None:
    """One command writes the page with all its pictures, and names whoever could not run."""
    done = run(app, ["bench", "codecs", "--quick", "--vector", str(vector), "-o", str(tmp_path / "page.md")])
    assert done.exit_code == OK
    text = (tmp_path / "page.md").read_text("utf-8")
    assert "| `topk:0.01 \\| linear:4` |" in text
    assert "nncodec" in text
    for name in ("mine", "gau16k", "lap16k"):
        assert f"(page-{name}.svg)" in text
        ET.parse(tmp_path / f"page-{name}.svg")


def test_rdo_at_equal_bytes(vector: Path, tmp_path: Path) -> None:
    """Every message that is not lossless meets one that is no longer, and whoever is better is told."""
    texts = ["linear:4", "topk:0.1 | fp16", "zstd", "rdo:bpp=1", "fp16"]
    result = measure([load(vector)], list(chosen(texts)), repeats=1, equal_bytes=True)
    assert [duel.rival for duel in result.duels] == ["linear:4", "topk:0.1 | fp16", "fp16"]
    sizes = {row.codec: row.bytes for row in result.rows}
    for duel in result.duels:
        assert duel.rdo_bytes <= duel.bytes == sizes[duel.rival]
        made, _ = codec(f"rdo:bytes={duel.bytes}").encode(UPDATE)
        assert len(made) == duel.rdo_bytes
        assert duel.lost == (duel.margin < 1)
    hopeless = Duel("mine", "oracle", 100, 1e-9, 99, 0.5)
    page.write(replace(result, duels=(*result.duels, hopeless)), tmp_path / "page.md", "a command")
    text = (tmp_path / "page.md").read_text("utf-8")
    assert "It errs more for 1 of them" in text
    assert text.count("| mine | `oracle` | 100 | 1.00e-09 | 0.5 |") == 1
    assert fight(load(vector), "one byte", 1, 0.5) == Duel("mine", "one byte", 1, 0.5, 0, 1.0)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no npz"])
def test_what_is_no_vector(tmp_path: Path, content: bytes) -> None:
    """A wrong file is one clear line and exit code 2."""
    (tmp_path / "wrong.npz").write_bytes(content)
    done = run(app, ["bench", "codecs", "--quick", "--vector", str(tmp_path / "wrong.npz")])
    assert done.exit_code == BAD_INPUT
    assert ".npz" in done.stderr
    assert run(app, ["bench", "codecs", "--quick", "--codec", "no-such"]).exit_code == BAD_INPUT


def test_a_text_file_is_not_taken_for_a_pickle(tmp_path: Path) -> None:
    """NumPy would tell the user how to load it unsafely."""
    (tmp_path / "v.npz").write_text("hello")
    with pytest.raises(DataError, match=r"npz: another kind of file, or a damaged one\.$"):
        load(tmp_path / "v.npz")


def test_a_terminal_of_80_characters_shows_every_codec_whole(vector: Path) -> None:
    """A codec cut short is no codec: there are three `eden:…,scale=unbias…`."""
    texts = [
        "topk:0.01 | linear:4,rounding=stochastic",
        "eden:2,scale=unbiased",
        "linear:8,rounding=stochastic",
    ]
    result = measure([load(vector)], list(chosen(texts)), repeats=1)
    console = Console(width=80, record=True, file=io.StringIO())
    for table in page.tables(result):
        console.print(table)
    shown = console.export_text()
    assert "…" not in shown
    for text in texts[1:]:
        assert text in shown


@pytest.mark.parametrize("array", [np.arange(3), np.zeros(0, np.float32), np.array([np.nan], np.float32)])
def test_what_no_vector_may_hold(tmp_path: Path, array: np.ndarray[tuple[int], np.dtype[np.float32]]) -> None:
    """Integers, nothing, and what is not finite are refused before anybody is measured."""
    np.savez(tmp_path / "wrong.npz", array)
    with pytest.raises(DataError):
        load(tmp_path / "wrong.npz")


def test_presets_run_or_are_named() -> None:
    """Nobody drops out of the comparison silently."""
    able, missing = lineup()
    named = {one.name for one in able} | {one.name for one in missing}
    assert named >= {text for _, texts in PRESETS for text in texts} | {name for _, name, _ in MADE}
    assert {one.name for one in lineup(quick=True)[0]} < {one.name for one in able}


@pytest.mark.parametrize(
    ("coder", "bits", "error"),
    [
        (peers.Blockwise(peers.dynamic_codebook(), 8, 4096), 8.5, 1e-3),
        (peers.Blockwise(peers.NORMAL_FLOAT_4, 4, 64), 4.8, 2e-2),
        (peers.OpenFlStc(0.1), 3, 0.8),
        (peers.OpenFlKc(6), 6, 0.1),
    ],
)
def test_peers_work(coder: Coder, bits: float, error: float) -> None:
    """A peer that was made badly would make us look good: each reaches what its method should."""
    rng = np.random.default_rng(2)
    update = {"w": rng.standard_normal((301, 233), np.float32), "z": np.zeros(7, np.float32)}
    blob = coder.encode(update)
    decoded = coder.decode(blob, Schema.of(update))
    assert Schema.of(decoded) == Schema.of(update)
    assert 8 * len(blob) / Schema.of(update).parameters < bits
    assert nmse(update, decoded) < error


def test_codebooks() -> None:
    """As many values as labels, in order, from -1 or a little above to 1."""
    for codebook, count in ((peers.dynamic_codebook(), 256), (peers.NORMAL_FLOAT_4, 16)):
        assert codebook.size == np.unique(codebook).size == count
        assert (np.diff(codebook) > 0).all()
        assert codebook[-1] == 1
        assert 0 in codebook


def test_reference_lines() -> None:
    """On normal values uniform quantization is a quarter bit from theory at high rates, never beyond it."""
    gaussian = next(iter(synthetic(quick=True)))
    for point in bounds.lines(gaussian):
        gap = 0 if point.line == bounds.GAUSSIAN else point.bpp + 0.5 * math.log2(point.nmse)
        assert -0.05 < gap < 0.3, point  # a sample of 16 thousand may be a little easier than its source
    nothing = Vector("nothing", {"w": np.zeros(9, np.float32)})
    assert {p.nmse for p in bounds.lines(nothing) if p.line == bounds.ORDER_0} == {0.0}


def test_same_seed_same_vectors() -> None:
    """Two machines measure the same synthetic values."""
    left, right = list(synthetic(quick=True)), list(synthetic(quick=True))
    for one, other in zip(left, right, strict=True):
        assert np.array_equal(one.update["w"], other.update["w"])


def test_a_plot_leaves_out_what_has_no_place() -> None:
    """A lossless codec's error has no logarithm, and names are text, whatever is in them."""
    own: dict[str, list[tuple[float, float]]] = {"one": [(1, 0.1), (1, 0.0), (1e9, 1)], "two": []}
    drawn = scatter("a < b", own, {"three": [(0.1, 0.1), (1, 0.01)]}, {"line": [(1, 0.5)]})
    tree = ET.fromstring(drawn)
    circles = tree.findall(".//{http://www.w3.org/2000/svg}circle")
    assert len(circles) == 3 + 2  # three points, and a mark in the legend for each of the two curves
