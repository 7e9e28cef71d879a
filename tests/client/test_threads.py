"""The thread count is one while a client computes, and back afterwards, whatever happens."""

from __future__ import annotations

import threading

import pytest
import torch

from phloem.client.threads import one_thread


def test_the_count_is_one_inside_and_back_outside() -> None:
    """Also when nested, and after an error."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with one_thread():
            assert torch.get_num_threads() == 1
            with one_thread():
                assert torch.get_num_threads() == 1
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
        with pytest.raises(ZeroDivisionError), one_thread():
            raise ZeroDivisionError
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_client_that_ends_first_does_not_raise_the_count_of_another() -> None:
    """The other is in the midst of a sum."""
    inside, leave = threading.Event(), threading.Event()
    seen: list[int] = []

    def compute() -> None:
        with one_thread():
            inside.set()
            leave.wait(10)
            seen.append(torch.get_num_threads())

    other = threading.Thread(target=compute)
    other.start()
    assert inside.wait(10)
    with one_thread():
        pass
    leave.set()
    other.join()
    assert seen == [1]
