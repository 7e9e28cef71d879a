"""Seeds: the same for the same purpose, everywhere and for ever; apart for any other."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from phloem.seeds import derive, generator

purposes = st.lists(st.one_of(st.integers(-(2**70), 2**70), st.text("ab0123", max_size=4)), max_size=4)


def test_they_never_change() -> None:
    """Protects repeating old runs: a seed derived years ago is derived again."""
    assert derive(1, "model") == 927531427798984877
    assert derive(1, "3", 7) == 6435411291408195172
    assert generator(1, "choose", 2).integers(0, 2**63) == 9058352758553660183


@given(st.integers(0, 2**32 - 1), purposes)
def test_they_fit_every_generator(seed: int, purpose: list[int | str]) -> None:
    """Protects Flower's records and torch, which take no more than 63 bits."""
    assert 0 <= derive(seed, *purpose) < 2**63
    assert derive(seed, *purpose) == derive(seed, *purpose)


@given(st.integers(0, 100), purposes, st.integers(0, 100), purposes)
def test_another_purpose_has_another_seed(
    seed: int, purpose: list[int | str], other_seed: int, other_purpose: list[int | str]
) -> None:
    """Protects independence: parts do not run together, as (1, 12) and (11, 2) might."""
    same = [seed, *map(str, purpose)] == [other_seed, *map(str, other_purpose)]
    assert (derive(seed, *purpose) == derive(other_seed, *other_purpose)) == same


def test_a_generator_starts_over_every_time() -> None:
    """Protects purity: nobody advances somebody else's generator."""
    assert generator(5, "x").random() == generator(5, "x").random() != generator(5, "y").random()
