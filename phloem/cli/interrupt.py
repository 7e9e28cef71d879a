"""Ctrl-C that is never lost.

Python drops an exception that is raised in a destructor or a callback, with a note on standard error, and
libraries that compile at run time have many of both. So a press is remembered as well as raised, and
whoever goes on after it asks at the next good moment.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def remembered() -> Iterator[Callable[[], None]]:
    """Yield a function that raises KeyboardInterrupt if Ctrl-C was pressed inside and got lost.

    A polite kill (SIGTERM: a shutdown, a batch system, `docker stop`) counts as a press.
    """
    if threading.current_thread() is not threading.main_thread():  # only there can signals be handled
        yield lambda: None
        return
    pressed = False

    def press(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        pressed = True
        raise KeyboardInterrupt

    def check() -> None:
        if pressed:
            raise KeyboardInterrupt

    def keep_quiet(dropped: sys.UnraisableHookArgs) -> None:
        if not issubclass(dropped.exc_type, KeyboardInterrupt):
            hook(dropped)

    handlers = {number: signal.signal(number, press) for number in (signal.SIGINT, signal.SIGTERM)}
    hook = sys.unraisablehook
    sys.unraisablehook = keep_quiet
    try:
        yield check
    finally:
        sys.unraisablehook = hook
        for number, handler in handlers.items():
            signal.signal(number, handler)
