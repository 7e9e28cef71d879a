"""What a teacher is asked about: the proxy, mixtures of it, or noise where there is none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from phloem.config import DataConfig, DistillConfig, ModelConfig
from phloem.learning import open_learner
from phloem.server.distill.fusion import open_teacher
from phloem.server.distill.questions import NOISE_PER_SAMPLE, noise, questions
from phloem.sources import open_federation


@given(st.integers(1, 6), st.integers(0, 3), st.integers(0, 1000))
def test_questions_are_the_proxy_and_mixtures_of_it(size: int, mixup: int, seed: int) -> None:
    """Protects what a teacher is asked: nothing outside of the samples' hull, the same for the same seed."""
    proxy = np.random.default_rng(seed).random((size, 2, 3), np.float32)
    found = questions(proxy, mixup, seed=seed)
    assert found.shape == (size * (1 + mixup), 2, 3)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[:size], proxy)
    assert (found >= proxy.min(axis=0) - 1e-6).all()
    assert (found <= proxy.max(axis=0) + 1e-6).all()
    np.testing.assert_array_equal(found, questions(proxy, mixup, seed=seed))


def test_noise_has_the_range_of_the_data_and_nothing_else_of_it() -> None:
    """Protects the data-free way: as many inputs as asked for, in the data's range, the same for a seed."""
    like = np.random.default_rng(0).normal(size=(20, 2, 3)).astype(np.float32)
    found = noise(like, 500, seed=1)
    assert found.shape == (500, 2, 3)
    assert found.dtype == np.float32
    assert (found >= like.min(axis=0) - 1e-6).all()
    assert (found <= like.max(axis=0) + 1e-6).all()
    np.testing.assert_array_equal(found, noise(like, 500, seed=1))


def test_a_teacher_asks_about_what_there_is() -> None:
    """Protects runs without a proxy: noise where it was asked for, else nothing is distilled."""
    federation = open_federation(DataConfig(clients=2), 1)
    bare = replace(federation, proxy=federation.proxy[:0])
    on = DistillConfig(enabled=True, mixup=0)
    free, made = (on.model_copy(update={"proxy": proxy}) for proxy in ("noise", "generator"))
    known = open_learner(ModelConfig(hidden=(4,)), federation.input_shape, federation.classes)
    cases = ((federation, on), (bare, free), (federation, free), (bare, made))
    found = [open_teacher(known, *case, seed=0) for case in cases]
    sizes = [len(teacher.proxy) for teacher in found if teacher is not None]
    judges = len(federation.validation)
    assert sizes == [len(federation.proxy), *[NOISE_PER_SAMPLE * judges] * 2, judges]
    assert [teacher.remembers for teacher in found if teacher is not None] == [False, False, False, True]
    assert open_teacher(known, bare, on, seed=0) is None
    assert open_teacher(known, federation, DistillConfig(), seed=0) is None
