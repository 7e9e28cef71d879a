"""Coverage-guided fuzzing of the decoders, with atheris, from the golden frames on: `make fuzz`.

    python -m tests.compression.fuzz --seconds 60 ['linear:4 | zstd' …]

An input is the number of a tensor and its payload, in a frame that fits: the fuzzer never has to guess a
checksum, a schema or a length. What it learns stays in `runs/fuzz`, and what it finds too.
"""

from __future__ import annotations

import argparse
import importlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

KEPT = Path("runs/fuzz")
HANG_S = 5
"""More than the sweep allows: instrumented code is slower."""


def fuzz(text: str, seconds: int) -> None:
    """Fuzz one codec; leaves the process."""
    atheris: Any = importlib.import_module("atheris")  # an extra that only this needs, and without types
    # What numba compiles has to stay as it is written.
    compiled = [
        f"phloem.compression.kernels.{path.stem}" for path in Path("compression/kernels").glob("*.py")
    ]
    with atheris.instrument_imports(include=["phloem.compression"], exclude=compiled):
        sweep = importlib.import_module("tests.compression.sweep")
    case = next(case for case in sweep.golden_cases() if case.name == text)
    folder = KEPT / re.sub("[^a-z0-9.]+", "-", text)
    folder.mkdir(parents=True, exist_ok=True)
    for place, payload in enumerate(case.specimen.frame.payloads):
        (folder / f"golden-{place}").write_bytes(bytes([place]) + payload)

    def decode(data: bytes) -> None:
        if data:
            place = data[0] % len(case.specimen.frame.payloads)
            sweep.survives(case, case.specimen.with_payload(place, data[1:]))

    options = [f"-max_total_time={seconds}", f"-timeout={HANG_S}", "-print_final_stats=1", "-verbosity=0"]
    atheris.Setup([sys.argv[0], str(folder), f"-artifact_prefix={folder}-found-", *options], decode)
    atheris.Fuzz()


def main(arguments: list[str]) -> int:
    """Fuzz each codec in a process of its own."""
    parser = argparse.ArgumentParser(prog="python -m tests.compression.fuzz", description=__doc__)
    parser.add_argument("codecs", nargs="*", help="with golden files; all of them if left out")
    parser.add_argument("--seconds", type=int, default=60, help="for each")
    parser.add_argument("--here", action="store_true", help="fuzz the one codec in this process")
    options = parser.parse_args(arguments)
    if options.here:
        fuzz(options.codecs[0], options.seconds)
    sweep = importlib.import_module("tests.compression.sweep")
    texts = options.codecs or list(dict.fromkeys(case.name for case in sweep.golden_cases()))
    failed = []
    for text in texts:
        print(f"== {text}", flush=True)
        command = [
            sys.executable,
            "-m",
            "tests.compression.fuzz",
            "--here",
            "--seconds",
            str(options.seconds),
        ]
        if subprocess.run([*command, "--", text], check=False).returncode:
            failed.append(text)
    print(f"{len(texts)} codecs, found something in {len(failed)}: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
