"""Shared values make the file small and change nothing that is predicted."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason='needs the extra: pip install "phloem[shrink]"')

from phloem.server.shrink.codebook import with_codebooks
from phloem.server.shrink.few_levels import settle, share_weights
from phloem.server.shrink.graph import to_onnx
from phloem.server.shrink.network import folded
from phloem.server.shrink.session import answers
from tests.server.shrink.networks import SHAPE, images, normed


@pytest.mark.parametrize(("entries", "smaller"), [(16, 3.5), (200, 1.9)])
def test_tables_say_the_same_in_fewer_bytes(entries: int, smaller: float) -> None:
    """Half a byte a weight up to 16 values, a byte above; the answers are equal to the bit."""
    network = folded(normed())
    share_weights(network, entries)
    settle(network)
    graph = to_onnx(network, SHAPE)
    tables, x = with_codebooks(graph), images(50)
    assert (answers(tables, x) == answers(graph, x)).all()
    assert graph.ByteSize() > smaller * tables.ByteSize()


def test_weights_of_many_values_stay_as_they_are() -> None:
    """A table would only add to them."""
    graph = to_onnx(normed(), SHAPE)
    tables = with_codebooks(graph)
    assert not any(node.op_type == "Gather" for node in tables.graph.node)
    np.testing.assert_array_equal(answers(tables, images(5)), answers(graph, images(5)))
