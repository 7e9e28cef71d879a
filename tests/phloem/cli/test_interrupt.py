"""Ctrl-C where Python would drop it: it is heard all the same, and nothing is printed about it."""

from __future__ import annotations

import os
import signal

import pytest

from phloem.cli.interrupt import remembered


class Fragile:
    """Something that a library cleans up in a destructor, just when the user presses Ctrl-C."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)


def test_a_press_that_python_drops_is_heard_at_the_next_check(capfd: pytest.CaptureFixture[str]) -> None:
    """Protects the user from a run that cannot be stopped, and from a traceback about nothing."""
    with remembered() as check:
        check()
        fragile = Fragile()
        del fragile
        with pytest.raises(KeyboardInterrupt):
            check()
    assert capfd.readouterr().err == ""


def test_any_other_press_is_raised_at_once() -> None:
    """Protects what Ctrl-C has always been."""
    with remembered(), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_afterwards_everything_is_as_before() -> None:
    """Protects whoever calls the command line from Python."""
    before = signal.getsignal(signal.SIGINT)
    with remembered():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before
