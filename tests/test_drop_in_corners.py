"""The drop-in where strategies and networks do what the quickstart does not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import ClientAppCallable

from phloem.client.mod import compress_mod
from phloem.client.records import read_state
from phloem.protocol import MESSAGE
from phloem.records import UPDATE
from phloem.server.grid import CompressedGrid
from phloem.simulation.grid import FIRST_NODE, LocalGrid

NODE, OTHER = FIRST_NODE, FIRST_NODE + 1
Arrays = Mapping[str, np.ndarray]
SMALL = {"w": np.linspace(-1, 1, 60, dtype=np.float32).reshape(6, 10)}
LARGE = {"w": np.linspace(-1, 1, 90, dtype=np.float32).reshape(9, 10)}
STEP = np.float32(0.25)


def content(arrays: Arrays) -> RecordDict:
    return RecordDict({"arrays": ArrayRecord({name: Array(array) for name, array in arrays.items()})})


def read(reply: Message) -> dict[str, np.ndarray]:
    assert reply.has_content(), reply.error
    return {name: array.numpy() for name, array in reply.content.array_records["arrays"].items()}


def fleet(uplink: str, downlink: str = "dense", **options: float) -> tuple[CompressedGrid, LocalGrid]:
    """Two nodes whose training moves every float by `STEP`."""
    app = ClientApp(mods=[compress_mod(uplink)])

    @app.train()
    def train(message: Message, context: Context) -> Message:
        arrays = {
            name: array.numpy() + STEP if array.dtype.startswith("float") else array.numpy()
            for name, array in message.content.array_records["arrays"].items()
        }
        return Message(content(arrays), reply_to=message)

    carrier = LocalGrid(app, 2, {})
    return CompressedGrid(carrier, downlink, **options), carrier  # type: ignore[arg-type]


def ask(grid: CompressedGrid, *messages: tuple[int, Arrays]) -> list[dict[str, np.ndarray]]:
    sent: Iterable[Message] = [Message(content(arrays), node, "train") for node, arrays in messages]
    return [read(reply) for reply in grid.send_and_receive(sent)]


def test_nodes_may_have_models_of_different_shapes() -> None:
    """Two networks under one strategy, and a node that changes from one to the other and back."""
    grid, _ = fleet("linear:8")
    for small, large in ((NODE, OTHER), (NODE, OTHER), (OTHER, NODE), (NODE, OTHER)):
        first, second = ask(grid, (small, SMALL), (large, LARGE))
        np.testing.assert_allclose(first["w"], SMALL["w"] + STEP, atol=0.01)
        np.testing.assert_allclose(second["w"], LARGE["w"] + STEP, atol=0.01)
    ask(grid, (NODE, SMALL), (OTHER, LARGE))
    assert grid.downlink.payload_bytes < grid.downlink.dense_bytes


def test_an_array_more_or_in_another_order_reaches_the_app() -> None:
    """Counters beside the weights come and go; the app gets what the strategy sent, in its order."""
    grid, _ = fleet("dense")
    two = {"a": SMALL["w"], "b": LARGE["w"]}
    counted = {**two, "count": np.array([3, 4])}
    for arrays in (two, counted, {"b": two["b"], "a": two["a"]}, counted, two):
        [found] = ask(grid, (NODE, arrays))
        assert list(found) == list(arrays)
        np.testing.assert_allclose(found["b"], arrays["b"] + STEP)


def test_ids_come_in_the_order_of_their_messages() -> None:
    """An app that pushes several contents by turns pairs ids with messages by their place."""
    grid, _ = fleet("dense")
    one, other = content(SMALL), content(LARGE)
    pushed = [Message(c, n, "train") for c, n in ((one, NODE), (other, OTHER), (one, NODE))]
    ids = list(grid.push_messages(pushed))
    shapes = [read(reply)["w"].shape for i in ids for reply in grid.pull_messages([i])]
    assert shapes == [(6, 10), (9, 10), (6, 10)]
    assert not grid._sent


@pytest.mark.parametrize("together", [True, False])
def test_a_node_with_two_messages_under_way_sends_nothing_twice(together: bool) -> None:
    """Applied + residual = learned, also where the server asks again before it has the first answer."""
    grid, carrier = fleet("topk:0.2")
    messages = [Message(content(SMALL), NODE, "train") for _ in range(2)]
    if together:
        replies = list(grid.send_and_receive(messages))
    else:
        ids = [i for message in messages for i in grid.push_messages([message])]
        replies = list(grid.pull_messages(ids))
    for _ in range(2):
        replies += grid.send_and_receive([Message(content(SMALL), NODE, "train")])
    applied = sum(read(reply)["w"] - SMALL["w"] for reply in replies)
    residual = read_state(carrier.contexts[NODE].state).codec.residual
    assert residual is not None
    np.testing.assert_allclose(
        applied + residual["arrays/w"], len(replies) * STEP * np.ones((6, 10)), rtol=1e-5
    )


def test_arrays_that_are_not_finite_pass_as_they_are() -> None:
    """A mask of infinities among the weights, or a model that diverged, is the app's own business."""
    grid, _ = fleet("linear:4")
    masked = {**SMALL, "mask": np.array([0, -np.inf], np.float32), "huge": np.array([1e300])}
    for _ in range(2):
        [found] = ask(grid, (NODE, masked))
        np.testing.assert_array_equal(found["mask"], masked["mask"] + STEP)
        np.testing.assert_array_equal(found["huge"], masked["huge"])


def test_a_model_of_zeros_can_be_sent_to_who_holds_another() -> None:
    """An app that starts again from zeros, with nodes that hold what they learned."""
    grid, _ = fleet("linear:8", "rdo:bpp=1")
    ask(grid, (NODE, SMALL))
    [found] = ask(grid, (NODE, {"w": np.zeros_like(SMALL["w"])}))
    np.testing.assert_allclose(found["w"], STEP, atol=0.01)


def test_statistics_are_never_within_the_error_allowed() -> None:
    """A variance that a node holds stays the strategy's own: else what is learned from it may be negative."""
    grid, _ = fleet("dense", "rdo:bpp=1")
    before = {"w": 100 * SMALL["w"], "n.running_var": np.full(4, 0.5, np.float32)}
    after = {**before, "n.running_var": np.full(4, 1e-3, np.float32)}
    ask(grid, (NODE, before))
    assert grid._held.positions
    ask(grid, (NODE, after))
    np.testing.assert_allclose(grid._held.weights(str(NODE))["arrays/n.running_var"], 1e-3, rtol=1e-4)


def test_a_reply_that_promises_a_frame_and_brings_none_is_an_error() -> None:
    """The strategy never sees a message with half of its arrays."""

    def strip(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        reply = call_next(message, context)
        del reply.content[UPDATE]
        return reply

    app = ClientApp(mods=[strip, compress_mod("dense")])

    @app.train()
    def train(message: Message, context: Context) -> Message:
        return Message(message.content, reply_to=message)

    grid = CompressedGrid(LocalGrid(app, 1, {}))
    [reply] = grid.send_and_receive([Message(content(SMALL), NODE, "train")])
    assert "Found none" in str(reply.error.reason)


@pytest.mark.parametrize(
    "text", ["\x1b[2J" + "x" * 1_000_000, "zstd | " * 200_000 + "zstd", "topk:" + "9" * 99_999]
)
def test_a_codec_of_a_hostile_node_costs_nothing_and_says_little(text: str) -> None:
    """Neither time in a decoder of many parts, nor pages of a node's own words in the server's log."""

    def claim(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        reply = call_next(message, context)
        reply.content.config_records[MESSAGE]["codec"] = text
        return reply

    app = ClientApp(mods=[claim, compress_mod("dense")])

    @app.train()
    def train(message: Message, context: Context) -> Message:
        return Message(message.content, reply_to=message)

    grid = CompressedGrid(LocalGrid(app, 1, {}))
    [reply] = grid.send_and_receive([Message(content(SMALL), NODE, "train")])
    assert len(reply.error.reason or "") <= 300
    assert (reply.error.reason or "").isprintable()
