"""Memory that a device holds without need: libraries nobody asked for, and code that ran once, at an import.

Loading torch and LLVM touches 150 MB of their files, of which a round uses a tenth. The system would take
such pages back when it is short of memory; a small device is always short, so they are given back at once.
What is needed again comes from the file.
"""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_DONTNEED = 4
_LINALG = "scipy.linalg"
_AREA = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \d+ +(/.*)$")


def shed() -> None:
    """Let go of library code that is as it stands in its file; elsewhere than on Linux, do nothing."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for start, end in clean_areas():
        libc.madvise(start, end - start, _DONTNEED)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


def spare_scipy() -> None:
    """Let numba begin without SciPy, which it loads, 11 MB, for linear algebra that phloem's kernels lack.

    Where somebody's own kernel has some, numba loads SciPy when it compiles that.
    """
    if "numba" not in sys.modules or _LINALG in sys.modules:
        return
    from numba.core.registry import cpu_target

    absent: dict[str, Any] = {_LINALG: None}
    sys.modules.update(absent)  # an import of it fails, as where it is not installed
    try:
        cpu_target.typing_context.refresh()
        cpu_target.target_context.refresh()
    finally:
        del sys.modules[_LINALG]


def clean_areas() -> Iterator[tuple[int, int]]:
    """Yield the mappings of libraries that cannot be written and have no page of this process's own.

    Those with such a page, changed when they were linked, cannot be read back from the file.
    """
    area: tuple[int, int] | None = None
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if match := _AREA.match(line):
            first, last, rights, path = match.groups()
            library = ".so" in path and "w" not in rights and rights.endswith("p")
            area = (int(first, 16), int(last, 16)) if library else None
        elif area is not None and line.startswith("Anonymous:"):
            if line.split()[1] == "0":
                yield area
            area = None
