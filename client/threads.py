"""One torch thread while a client computes: a sum's bits depend on how it is cut up among threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_lock = threading.Lock()
_inside = 0
_before = 1


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one torch thread inside; the count found by the first to enter is back when the last leaves.

    The matrix library's count belongs to the process, so with several clients in several
    threads nobody may raise it while another still computes.
    """
    global _inside, _before
    with _lock:
        if _inside == 0:
            _before = torch.get_num_threads()
        _inside += 1
        torch.set_num_threads(1)  # also where it is 1 for others: each thread has its own OpenMP count
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                torch.set_num_threads(_before)
