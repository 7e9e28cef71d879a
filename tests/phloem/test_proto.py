"""The generated code is what the .proto files say: nobody edits it, nobody forgets it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_generated_code_is_current(root: Path, tmp_path: Path) -> None:
    """Whoever changes a message also runs `make proto`."""
    protos = sorted(path.relative_to(root).as_posix() for path in (root / "phloem" / "proto").glob("*.proto"))
    options = ("-I.", f"--python_out={tmp_path}", f"--pyi_out={tmp_path}")
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *options, *protos], cwd=root, check=True)
    fresh = {path.relative_to(tmp_path): path.read_text("utf-8") for path in tmp_path.rglob("*_pb2.py*")}
    assert len(fresh) == 2 * len(protos)
    stale = [str(path) for path, text in fresh.items() if text != (root / path).read_text("utf-8")]
    assert not stale, f"{stale} differ from what the .proto files give: run `make proto`"
