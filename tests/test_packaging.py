"""The four ways in which phloem reaches a Python: checkout, wheel, editable install, Flower app bundle.

Every build works on a copy, so the checkout is never written; none needs a network, because the build tools
and the dependencies come from the environment in which the tests run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

FOLDERS = ("client", "compression", "server", "simulation")
BUILD_FILES = ("pyproject.toml", "LICENSE", "README.md", "MANIFEST.in")
IMPORT_ALL = """
import importlib, sys, phloem
for name in sys.argv[1:]:
    importlib.import_module(name)
print(phloem.__file__)
"""
LOAD_BUNDLE = """
import sys
from flwr.supercore.object_ref import load_app, validate
import flwr.clientapp, flwr.serverapp, phloem
bundle = sys.argv[1]
for reference, kind in zip(sys.argv[2:], (flwr.serverapp.ServerApp, flwr.clientapp.ClientApp), strict=True):
    assert validate(reference, project_dir=bundle) == (True, None)
    assert isinstance(load_app(reference, ImportError, bundle), kind), reference
print(phloem.__file__)
"""


def copy_sources(root: Path, target: Path) -> Path:
    """What a build reads, and nothing that an earlier build left behind."""
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info", "*.nbi", "*.nbc")
    target.mkdir(parents=True)
    for folder in ("phloem", *FOLDERS):
        shutil.copytree(root / folder, target / folder, ignore=ignore)
    for name in BUILD_FILES:
        if (root / name).exists():
            shutil.copy(root / name, target / name)
    if not (target / "README.md").exists():
        (target / "README.md").write_text("# phloem\n", encoding="utf-8")
    return target


def shipped(root: Path) -> set[str]:
    """Every file of the package, as it is called inside phloem/."""
    found: set[str] = set()
    for folder in ("phloem", *FOLDERS):
        for path in (root / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                place = path.relative_to(root).as_posix()
                found.add(place if folder == "phloem" else f"phloem/{place}")
    return found


@dataclass(frozen=True)
class Environment:
    """A virtual environment that has the dependencies but not phloem."""

    folder: Path

    @property
    def python(self) -> str:
        """Its interpreter."""
        return str(self.folder / ("Scripts" if os.name == "nt" else "bin") / "python")

    @property
    def packages(self) -> Path:
        """Its site-packages."""
        return Path(sysconfig.get_path("purelib", "venv", {"base": str(self.folder)}))

    def run(self, *arguments: str, cwd: Path) -> str:
        """Run its Python there and return what it printed."""
        return run(self.python, *arguments, cwd=cwd)


def run(*command: str, cwd: Path) -> str:
    """Run a command without this process's import path and return what it printed."""
    env = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def environment(folder: Path) -> Environment:
    """A fresh one; a plain line in a .pth file lends it the dependencies without the editable phloem."""
    venv.create(folder, with_pip=False)
    made = Environment(folder)
    lent = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    (made.packages / "dependencies.pth").write_text("\n".join(lent) + "\n", encoding="utf-8")
    return made


def install(made: Environment, *what: str, cwd: Path) -> None:
    """Install with the pip of this environment into that one, with nothing fetched."""
    options = (
        "--no-deps",
        "--no-index",
        "--no-build-isolation",
        "--ignore-installed",
        "--disable-pip-version-check",
    )
    run(sys.executable, "-m", "pip", "--python", made.python, "install", "-q", *options, *what, cwd=cwd)


@pytest.fixture(scope="session")
def sources(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources to build from; Flower wants a folder name without an underscore."""
    return copy_sources(root, tmp_path_factory.mktemp("copy") / "phloem-app")


@pytest.fixture(scope="session")
def wheel(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built wheel."""
    out = tmp_path_factory.mktemp("wheel")
    build = (sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out))
    run(*build, str(sources), cwd=out)
    (built,) = out.glob("phloem-*.whl")
    return built


@pytest.fixture(scope="session")
def bundle(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Flower app bundle, unpacked."""
    out = tmp_path_factory.mktemp("bundle")
    flwr = Path(sysconfig.get_path("scripts")) / "flwr"
    run(str(flwr), "build", "--app", str(sources), cwd=out)
    (built,) = out.glob("phloem.phloem.*.fab")
    with zipfile.ZipFile(built) as archive:
        archive.extractall(out / "unpacked")
    return out / "unpacked"


def modules(root: Path) -> list[str]:
    """Every module of the package."""
    names = sorted(
        name.removesuffix(".py").replace("/", ".") for name in shipped(root) if name.endswith(".py")
    )
    return [name for name in names if not name.endswith((".__init__", ".__main__"))]


def test_every_folder_with_code_is_listed(root: Path) -> None:
    """Setuptools takes only the packages it is told: a new subfolder has to be named in pyproject.toml."""
    listed = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["packages"]
    folders = {
        Path(name).parent.as_posix().replace("/", ".") for name in shipped(root) if name.endswith(".py")
    }
    assert folders <= set(listed), f"add to `packages` in pyproject.toml: {sorted(folders - set(listed))}"


def test_typing_links_are_complete(root: Path) -> None:
    """A type checker sees phloem through `.typing/phloem/`, and cannot find a module without a link."""
    made = {path.name: path.resolve() for path in (root / ".typing" / "phloem").iterdir()}
    own = {
        path.name for path in (root / "phloem").iterdir() if path.suffix == ".py" or any(path.glob("*.py"))
    }
    missing = ({"py.typed"} | own | set(FOLDERS)) - made.keys()
    broken = sorted(name for name, target in made.items() if not target.exists())
    assert not missing, (
        f"no link for {sorted(missing)}: run `python scripts/typing_links.py` and commit the links"
    )
    assert not broken, f"links that lead nowhere: {broken}: run `python scripts/typing_links.py`"


def test_wheel_holds_every_file_once_and_only_under_phloem(root: Path, wheel: Path) -> None:
    """A wheel with a top-level `compression` would break Python 3.14's gzip for everybody who installs it."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        metadata = archive.read("phloem-0.1.0.dist-info/METADATA").decode()
        entry = archive.read("phloem-0.1.0.dist-info/entry_points.txt").decode()
    assert names == shipped(root)
    assert "Requires-Python: >=3.11" in metadata
    assert "phloem = phloem.cli.main:main" in entry


def test_wheel_imports_elsewhere(sources: Path, wheel: Path, tmp_path: Path) -> None:
    """Installed from the wheel, every module imports in a folder that knows nothing of the checkout."""
    made = environment(tmp_path / "env")
    install(made, str(wheel), cwd=tmp_path)
    origin = made.run("-c", IMPORT_ALL, *modules(sources), cwd=tmp_path)
    assert Path(origin.strip()) == made.packages / "phloem" / "__init__.py"
    assert not [name for name in (*FOLDERS, "tests") if list(made.packages.glob(f"{name}*"))]


def test_editable_install_imports_elsewhere(sources: Path, tmp_path: Path) -> None:
    """`pip install -e .`: the code stays in the checkout and is found from everywhere."""
    made = environment(tmp_path / "env")
    checkout = copy_sources(sources, tmp_path / "checkout")
    install(made, "--editable", str(checkout), cwd=tmp_path)
    origin = made.run("-c", IMPORT_ALL, *modules(checkout), cwd=tmp_path)
    assert Path(origin.strip()) == checkout / "phloem" / "__init__.py"


def test_checkout_imports_without_an_install(sources: Path, tmp_path: Path) -> None:
    """`python -c "import phloem"` in the checkout: the bridge finds the four folders."""
    made = environment(tmp_path / "env")
    origin = made.run("-c", IMPORT_ALL, *modules(sources), cwd=sources)
    assert Path(origin.strip()) == sources / "phloem" / "__init__.py"


def test_bundle_holds_code_only(bundle: Path) -> None:
    """A bundle goes to every device in the fleet: the code, its licence, and nothing else."""
    top = {path.name for path in bundle.iterdir()} - {".info"}
    assert top == {"phloem", *FOLDERS, "pyproject.toml", "LICENSE"}
    assert {path.suffix for folder in ("phloem", *FOLDERS) for path in (bundle / folder).rglob("*.*")} == {
        ".py"
    }


def test_bundle_loads_as_flower_loads_it(root: Path, bundle: Path, tmp_path: Path) -> None:
    """Flower puts the unpacked bundle first on the path and does not install it: both parts load so."""
    made = environment(tmp_path / "env")
    components = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["tool"]["flwr"]["app"][
        "components"
    ]
    loader = f"import sys; sys.path.insert(0, sys.argv[1])\n{LOAD_BUNDLE}"
    references = (components["serverapp"], components["clientapp"])
    printed = made.run("-c", loader, str(bundle), *references, cwd=tmp_path)
    assert Path(printed.splitlines()[-1]) == bundle / "phloem" / "__init__.py"


def test_standard_library_survives_the_root_on_the_path(root: Path, tmp_path: Path) -> None:
    """From 3.14 on gzip, bz2 and lzma need the standard library's `compression`; an IDE puts the root first.

    An older Python gets a stand-in for that package at the end of its path: the folder may never win against
    a real package, wherever it stands.
    """
    (tmp_path / "compression").mkdir()
    (tmp_path / "compression" / "__init__.py").write_text("STAND_IN = True\n", encoding="utf-8")
    script = (
        "import sys; root, stand_in = sys.argv[1:]; sys.path.insert(0, root)\n"
        "import gzip, bz2, lzma\n"
        "if sys.version_info < (3, 14): sys.path.append(stand_in)\n"
        "import compression\n"
        "assert compression.__file__ and not compression.__file__.startswith(root), compression.__path__\n"
    )
    run(sys.executable, "-c", script, str(root), str(tmp_path), cwd=root)
