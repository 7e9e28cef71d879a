"""Make the links in `.typing/phloem/`: the one tree in which a type checker sees the whole of phloem.

At run time the bridge in `phloem/__init__.py` joins the top-level folders to the package; a type checker does
not run it, so it is given a folder of links instead. Run this after adding a module to `phloem/`: it makes
what is missing, removes what is gone, and changes nothing else.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LINKS = ROOT / ".typing" / "phloem"
FOLDERS = ("client", "compression", "server", "simulation")


def wanted() -> dict[str, str]:
    """Every link's name and where it leads, relative so that a checkout can be moved."""
    own = sorted(path.name for path in (ROOT / "phloem").iterdir() if _is_module(path))
    return {name: f"../../phloem/{name}" for name in own} | {name: f"../../{name}" for name in FOLDERS}


def _is_module(path: Path) -> bool:
    if path.is_dir():
        return any(path.rglob("*.py")) or any(path.rglob("*.pyi"))
    return path.suffix in {".py", ".pyi"} or path.name == "py.typed"


def present() -> dict[str, str]:
    """The links that are there."""
    return {path.name: str(path.readlink()) for path in LINKS.iterdir()} if LINKS.is_dir() else {}


def main() -> None:
    """Turn what is present into what is wanted."""
    want, have = wanted(), present()
    LINKS.mkdir(parents=True, exist_ok=True)
    for name in sorted(have.keys() - want.keys()):
        (LINKS / name).unlink()
        print(f"removed {name}")
    for name, target in want.items():
        if have.get(name) != target:
            (LINKS / name).unlink(missing_ok=True)
            (LINKS / name).symlink_to(target)
            print(f"linked {name} -> {target}")


if __name__ == "__main__":
    main()
