"""`phloem codec list` and `inspect`: nothing written twice, and a frame that adds up."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from phloem.catalogue import entries
from phloem.cli.console import BAD_INPUT, OK
from phloem.cli.main import app
from phloem.compression import registry
from phloem.compression.codec import codec
from phloem.compression.frame import SEAL_BYTES, pack_chain
from phloem.compression.update import Schema
from phloem.errors import CodecError
from tests.compression.cases import CODECS, usual

run = CliRunner().invoke


def test_every_name_is_listed() -> None:
    """A stage that is registered is listed, with something to say about it and a place to stand."""
    found = entries()
    assert sorted(entry.name for entry in found) == registry.names()
    for entry in found:
        assert entry.summary.endswith((".", ":")), entry
        assert entry.first or entry.follows, entry


def test_what_is_listed_works() -> None:
    """The places come from trying: what the list allows parses, and what it leaves out does not."""
    follows = {entry.name: entry.follows for entry in entries()}
    assert {"topk", "ef"} <= set(follows["linear"])
    assert "linear" not in follows["topk"]
    assert set(follows["zstd"]) >= {"linear", "fp16", "ef"}
    with pytest.raises(CodecError):
        codec("linear:4 | topk:0.1")


def test_the_cases_follow_the_list() -> None:
    """Whatever the laws run over is allowed by the list, step by step."""
    follows = {entry.name: (entry.first, entry.follows) for entry in entries()}
    for text in CODECS:
        names = [part.split(":")[0] for part in text.split(" | ")]
        assert follows[names[0]][0]
        for before, name in itertools.pairwise(names):
            assert before in follows[name][1], text


def test_list_as_json() -> None:
    """Machines read the same list."""
    done = run(app, ["codec", "list", "--json"])
    assert done.exit_code == OK
    table = {row["name"]: row for row in json.loads(done.stdout)}
    assert table["lowrank"]["aliases"] == ["powersgd"]
    assert [argument["name"] for argument in table["linear"]["arguments"]] == ["bits", "per", "rounding"]
    assert table["linear"]["usage"] == "linear:bits[,per=block|tensor|channel][,rounding=nearest|stochastic]"
    assert table["linear"]["arguments"][1]["choices"] == ["block", "tensor", "channel"]
    assert "topk:fraction" in run(app, ["codec", "list"]).stdout


@pytest.mark.parametrize("text", ["dense", "ef | topk:0.1 | linear:4 | zstd"])
def test_inspect_accounts_for_every_byte(tmp_path: Path, text: str) -> None:
    """The sections lie end to end, from the first byte to the last, and say what was encoded."""
    update, schema = usual()
    blob, _ = codec(text).encode(update, base=3, seq=2**40)
    (tmp_path / "a.bin").write_bytes(blob)
    done = run(app, ["codec", "inspect", str(tmp_path / "a.bin"), "--json"])
    assert done.exit_code == OK
    found = json.loads(done.stdout)
    assert (found["base"], found["seq"], found["codec"]) == (3, 2**40, codec(text).wire_text)
    assert (found["schema"], found["intact"]) == (schema.fingerprint.hex(), True)
    assert len(found["payload_bytes"]) == len(update)
    assert sum(found["payload_bytes"]) + found["overhead_bytes"] == found["bytes"] == len(blob)
    end = 0
    for section in found["sections"]:
        assert section["at"] == end
        end += section["bytes"]
    assert end == len(blob)
    assert "payload 1" in run(app, ["codec", "inspect", str(tmp_path / "a.bin")]).stdout


def test_inspect_shows_what_is_damaged(tmp_path: Path) -> None:
    """A wrong checksum is told after what could be read, for whoever looks for the fault."""
    blob = bytearray(codec("dense").encode({"w": np.ones(4, np.float32)})[0])
    blob[-SEAL_BYTES - 1] ^= 1
    (tmp_path / "a.bin").write_bytes(blob)
    done = run(app, ["codec", "inspect", str(tmp_path / "a.bin"), "--json"])
    assert done.exit_code == BAD_INPUT
    assert json.loads(done.stdout)["intact"] is False
    assert "checksum" in done.stderr


def test_inspect_refuses_what_is_no_frame(tmp_path: Path) -> None:
    """Any other bytes, and no file at all, are one clear line and exit code 2."""
    update, _ = usual()
    blob, _ = codec("dense").encode(update)
    assert Schema.of(update).fingerprint in blob
    for content in (b"", b"PK\x03\x04", bytes(1000), blob[:-1], blob[:30], blob + blob, b"\x0a\x00" * 50):
        (tmp_path / "a.bin").write_bytes(content)
        done = run(app, ["codec", "inspect", str(tmp_path / "a.bin")])
        assert done.exit_code == BAD_INPUT
        assert "frame" in done.stderr.replace("\n", " ")
    done = run(app, ["codec", "inspect", str(tmp_path / "none")])
    assert done.exit_code == BAD_INPUT
    assert "can be read" in done.stderr


@pytest.mark.parametrize(
    ("spoil", "hint"),
    [
        (lambda blob: blob[:-7], "It begins as one, of the codec 'fp16'"),
        (lambda blob: blob + b"more", "It begins as one, of the codec 'fp16'"),
        (lambda blob: pack_chain([blob, blob]), "Found a chain of 2"),
    ],
)
def test_inspect_says_what_it_may_be(tmp_path: Path, spoil: Callable[[bytes], bytes], hint: str) -> None:
    """A frame that was cut, or that came with others, is not mistaken for a foreign file."""
    blob, _ = codec("fp16").encode({"w": np.ones(40, np.float32)})
    (tmp_path / "a.bin").write_bytes(spoil(blob))
    done = run(app, ["codec", "inspect", str(tmp_path / "a.bin")])
    assert done.exit_code == BAD_INPUT
    assert hint in done.stderr.replace("\n", " ")
