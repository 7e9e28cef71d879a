"""The arrows of the design point down, and no file reaches for what it may not have.

Everything is read from the syntax tree: nothing has to be importable, and imports inside functions count too.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("client", "compression", "server", "simulation")
OTHERS = ("tests", "benchmarks", "examples", "scripts")
LONGEST = 300

# A layer may use itself and those on lower floors; the server and the client share a floor and never meet.
# What stands in phloem/ and is not named here is shared.
FLOORS = {
    "errors": 0,
    "proto": 0,
    "compression": 1,
    "shared": 2,
    "server": 3,
    "client": 3,
    "simulation": 4,
    "report": 5,
    "cli": 6,
}

HOMES_OF_FLOWER = {"app", "strategy", "mod", "grid", "link", "records"}  # a file, name_more, or a folder
HOMES_OF_TORCH = ("client/", "server/distill", "server/shrink", "simulation/engine", "phloem/doctor")
COMPRESSION_MAY = {"numpy", "numba", "google", "google_crc32c", "zstandard"} | set(sys.stdlib_module_names)
RUNS_FOREIGN_CODE = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "jsonpickle"}


@dataclass(frozen=True)
class Source:
    """One Python file and what it imports, as full dotted names."""

    path: Path
    module: str
    tree: ast.Module

    @property
    def place(self) -> str:
        """The path from the root, as the tests print it."""
        return self.path.relative_to(ROOT).as_posix()

    @property
    def layer(self) -> str:
        """The layer of the design that this file belongs to."""
        return layer_of(self.module)

    def imports(self) -> Iterator[tuple[str, str | None]]:
        """Each imported module, with the name taken from it if there is one."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((alias.name, None) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield from (("." * node.level + (node.module or ""), alias.name) for alias in node.names)

    def targets(self) -> Iterator[str]:
        """Each imported module of phloem's own; `from phloem import errors` means phloem.errors."""
        for module, name in self.imports():
            if module.split(".")[0] != "phloem":
                continue
            deeper = f"{module}.{name}"
            yield deeper if deeper in MODULES or deeper in PACKAGES else module


def layer_of(module: str) -> str:
    """The layer of a dotted name such as phloem.server.app; phloem.client_app is a door of the client."""
    parts = module.split(".")
    if len(parts) == 1:
        return "face"
    layer = "cli" if parts[1] == "__main__" else parts[1].removesuffix("_app")
    return layer if layer in FLOORS else "shared"


def may_import(source: str, target: str) -> bool:
    """Whether an arrow from one layer to another points down."""
    return source == target or FLOORS[target] < FLOORS[source]


def read(path: Path) -> Source:
    """The parsed file under the name by which it is imported."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[0] != "phloem":
        parts = ("phloem", *parts)
    module = ".".join(parts).removesuffix(".__init__")
    return Source(path, module, ast.parse(path.read_text(encoding="utf-8"), str(path)))


def python_files(*folders: str) -> list[Path]:
    """The files written by hand: what a tool generates has its own rules."""
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return [path for path in found if not path.stem.endswith(("_pb2", "_pb2_grpc"))]


SOURCES = [read(path) for path in python_files("phloem", *FOLDERS)]
MODULES = {source.module for source in SOURCES}
PACKAGES = {module.rsplit(".", n)[0] for module in MODULES for n in range(1, module.count(".") + 1)}


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.place)
def test_arrows_point_down(source: Source) -> None:
    """No layer knows a layer above it, and the server and the client never import each other."""
    if source.layer == "face":
        return  # the public face imports lazily; test_public.py looks after it
    targets = [target for target in source.targets() if target != "phloem"]  # the face: see the next test
    wrong = [target for target in targets if not may_import(source.layer, layer_of(target))]
    assert not wrong, f"{source.place} ({source.layer}) may not import {wrong}"


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.place)
def test_own_names_come_from_their_file(source: Source) -> None:
    """Inside the project a name is imported from the file that defines it; the face is for users."""
    names = {name for module, name in source.imports() if module == "phloem" and name}
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "phloem":
            names.add(node.attr)
    wrong = {name for name in names if f"phloem.{name}" not in MODULES | PACKAGES} - {"__version__"}
    assert not wrong, f"{source.place} takes {sorted(wrong)} from `phloem` itself"


def test_no_import_cycles() -> None:
    """The modules can be read in an order in which every concept is met before it is used."""
    graph = {source.module: set(source.targets()) & MODULES - {"phloem"} for source in SOURCES}
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"import cycle: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.place)
def test_frameworks_stay_in_their_files(source: Source) -> None:
    """Flower is an adapter's business, torch the learner's, and compression needs neither."""
    heads = {module.split(".")[0] for module, _ in source.imports()}
    named = {source.path.stem.split("_")[0], source.path.parent.name}
    if not named & HOMES_OF_FLOWER:
        assert "flwr" not in heads, f"{source.place}: Flower belongs in files named {sorted(HOMES_OF_FLOWER)}"
    if not source.place.startswith(HOMES_OF_TORCH):
        assert "torch" not in heads, f"{source.place}: torch belongs in {HOMES_OF_TORCH}"
    if source.layer == "compression":
        assert heads <= COMPRESSION_MAY | {"phloem"}, (
            f"{source.place}: {sorted(heads - COMPRESSION_MAY - {'phloem'})}"
        )


@pytest.mark.parametrize("path", python_files("phloem", *FOLDERS, *OTHERS), ids=lambda path: str(path.name))
def test_bare_folder_names_are_not_imported(path: Path) -> None:
    """`import compression` is the standard library's from Python 3.14 on; ours is `phloem.compression`."""
    wrong = [module for module, _ in read(path).imports() if module.split(".")[0] in (*FOLDERS, "")]
    assert not wrong, f"{path.relative_to(ROOT)}: import phloem.… instead of {wrong}"


def test_the_four_folders_are_namespace_portions() -> None:
    """An `__init__.py` would let the folder `compression` hide Python 3.14's module, and gzip would break."""
    found = [path for folder in (*FOLDERS, "tests") for path in (ROOT / folder).rglob("__init__.py")]
    assert not found, f"these files have to go: {found}"


@pytest.mark.parametrize("path", python_files("phloem", *FOLDERS, *OTHERS), ids=lambda path: str(path.name))
def test_files_hold_one_concept(path: Path) -> None:
    """A file that is too long holds two concepts."""
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST, (
        f"{path.relative_to(ROOT)} has {lines} lines, at most {LONGEST} are allowed: split it"
    )


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.place)
def test_bytes_are_never_run(source: Source) -> None:
    """No pickle, no eval, in no disguise: bytes from outside are parsed, never executed."""
    found = [module for module, _ in source.imports() if module.split(".")[0] in RUNS_FOREIGN_CODE]
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call):
            found += _dangerous(node)
    assert not found, f"{source.place} uses {found}"


def _dangerous(call: ast.Call) -> list[str]:
    name = ast.unparse(call.func)
    allows_pickle = [k for k in call.keywords if k.arg == "allow_pickle" and ast.unparse(k.value) != "False"]
    bad = name in {
        "eval",
        "exec",
        "compile",
        "__import__",
        "torch.load",
        "torch.save",
        "yaml.load",
        "yaml.unsafe_load",
    }
    return [name] if bad or allows_pickle else []


@pytest.mark.parametrize(
    ("source", "target", "allowed"),
    [
        ("server", "client", False),
        ("client", "server", False),
        ("compression", "shared", False),
        ("compression", "errors", True),
        ("shared", "compression", True),
        ("shared", "server", False),
        ("server", "simulation", False),
        ("simulation", "client", True),
        ("simulation", "report", False),
        ("report", "simulation", True),
        ("cli", "report", True),
        ("report", "cli", False),
        ("errors", "proto", False),
    ],
)
def test_the_rule_itself(source: str, target: str, allowed: bool) -> None:
    """The table of layers says what the design says."""
    assert may_import(source, target) is allowed
