"""What is installed, and what will not work because something is not."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sysconfig
from dataclasses import asdict, dataclass
from typing import Any

import phloem

CORE = (
    "flwr",
    "torch",
    "numpy",
    "numba",
    "protobuf",
    "grpcio",
    "pydantic",
    "typer",
    "rich",
    "river",
    "safetensors",
    "scikit-learn",
    "zstandard",
    "google-crc32c",
    "tomli-w",
)
EXTRAS = {
    "data": ("datasets", "`parquet:` and `hf:` sources"),
    "ray": ("ray", "`flwr run .` on Flower's own simulation"),
    "report": ("plotly", "report.html"),
    "shrink": ("onnxruntime", "`phloem export`"),
    "tune": ("optuna", "`phloem export --search`"),
}
PROGRAMS = {
    "flwr": "`flwr run .`",
    "flower-superlink": "`make edge`",
    "chromium": "the test that opens a report in a browser",
}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked for: what was found, and what does not work without it."""

    name: str
    found: str
    ok: bool
    needed: bool
    consequence: str = ""


def examine() -> list[Finding]:
    """Look at this machine; touches neither the network nor the disk beyond reading what is installed."""
    findings = [
        Finding("python", f"{platform.python_version()} on {platform.machine()}", True, needed=True),
        Finding("cores", str(os.cpu_count()), True, needed=True),
        Finding("phloem", phloem.__version__, True, needed=True),
    ]
    for package in CORE:
        version = _version(package)
        findings.append(
            Finding(package, version or "not installed", version is not None, True, "phloem does not run")
        )
    findings.append(Finding("device", *_device(), needed=True, consequence="phloem does not run"))
    for extra, (package, purpose) in EXTRAS.items():
        version = _version(package)
        remedy = f'no {purpose}: pip install "phloem[{extra}]"'
        findings.append(
            Finding(f"extra {extra}", version or "not installed", version is not None, False, remedy)
        )
    places = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)])
    for program, purpose in PROGRAMS.items():
        path = shutil.which(program, path=places)
        findings.append(
            Finding(f"program {program}", path or "not found", path is not None, False, f"no {purpose}")
        )
    return findings


def healthy(findings: list[Finding]) -> bool:
    """Tell whether everything phloem cannot do without is there."""
    return all(finding.ok for finding in findings if finding.needed)


def as_json(findings: list[Finding]) -> dict[str, Any]:
    """Return the findings as one object."""
    return {"healthy": healthy(findings), "findings": [asdict(finding) for finding in findings]}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _device() -> tuple[str, bool]:
    if importlib.util.find_spec("torch") is None:
        return "unknown without torch", False
    try:
        import torch  # heavy: only when a doctor is asked for
    except Exception as error:  # whatever a broken installation raises
        return f"torch does not import: {error}", False
    return ("cuda" if torch.cuda.is_available() else "cpu"), True
