"""The drop-in: an app written from Flower's quickstart, two changed lines, the same curve with fewer bytes.

The app below knows nothing of phloem; only the mod and the grid around it do.
"""

import random
from collections.abc import Callable, Iterable

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.mod import fixedclipping_mod
from flwr.clientapp.typing import ClientAppCallable, Mod
from flwr.serverapp import Grid
from flwr.serverapp.strategy import (
    DifferentialPrivacyClientSideFixedClipping,
    FedAdam,
    FedAvg,
    FedMedian,
    FedProx,
    Krum,
    Result,
    Strategy,
)
from torch import nn

from phloem.client.mod import compress_mod
from phloem.client.threads import one_thread
from phloem.config import DataConfig
from phloem.records import put_blob
from phloem.server.grid import CompressedGrid
from phloem.simulation.grid import LocalGrid
from phloem.sources import Samples, open_federation

CLIENTS, ROUNDS = 6, 12
DATA = open_federation(DataConfig(clients=CLIENTS, partition="dirichlet:1"), 3)


def make_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 10))


def fit(model: nn.Module, samples: Samples, epochs: int) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x, y = torch.tensor(samples.x), torch.tensor(samples.y)
    model.train()
    with one_thread():
        for _ in range(epochs):
            for start in range(0, len(y) - 1, 32):
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(model(x[start : start + 32]), y[start : start + 32])
                torch.autograd.backward(loss)
                optimizer.step()


def accuracy(model: nn.Module, samples: Samples) -> float:
    model.eval()
    with torch.no_grad():
        return float((model(torch.tensor(samples.x)).argmax(1) == torch.tensor(samples.y)).float().mean())


def client_app(mods: list[Mod]) -> ClientApp:
    app = ClientApp(mods=mods)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        model = make_model()
        model.load_state_dict(message.content["arrays"].to_torch_state_dict())  # type: ignore[union-attr]
        share = DATA.shares[int(context.node_config["partition-id"])]
        fit(model, share, epochs=2)
        content = RecordDict(
            {
                "arrays": ArrayRecord(model.state_dict()),
                "metrics": MetricRecord({"num-examples": len(share), "train_loss": 0.0}),
            }
        )
        return Message(content=content, reply_to=message)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        model = make_model()
        model.load_state_dict(message.content["arrays"].to_torch_state_dict())  # type: ignore[union-attr]
        share = DATA.shares[int(context.node_config["partition-id"])]
        metrics = MetricRecord({"num-examples": len(share), "eval_acc": accuracy(model, share)})
        return Message(content=RecordDict({"metrics": metrics}), reply_to=message)

    return app


def run(strategy: Strategy, grid: Grid) -> tuple[Result, list[float]]:
    random.seed(0)  # Flower samples nodes with it
    curve: list[float] = []

    def test(server_round: int, arrays: ArrayRecord) -> MetricRecord:
        model = make_model()
        model.load_state_dict(arrays.to_torch_state_dict())
        curve.append(accuracy(model, DATA.test))
        return MetricRecord({"accuracy": curve[-1]})

    result = strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord(make_model().state_dict()),
        num_rounds=ROUNDS,
        train_config=ConfigRecord({"lr": 0.1}),
        evaluate_fn=test,
    )
    return result, curve


THRIFTY, FINE = "rdo:bpp=1", "linear:4 | zstd"
STRATEGIES: dict[str, Callable[[], Strategy]] = {
    "FedAvg": lambda: FedAvg(fraction_evaluate=0.5, min_evaluate_nodes=3),
    "FedAvg, half the nodes": lambda: FedAvg(fraction_train=0.5, fraction_evaluate=0.0),
    "FedAdam": lambda: FedAdam(fraction_evaluate=0.0, eta=0.05, tau=0.01),
    "FedProx": lambda: FedProx(fraction_evaluate=0.0, proximal_mu=0.01),
    "FedMedian": lambda: FedMedian(fraction_evaluate=0.0),
    "Krum": lambda: Krum(fraction_evaluate=0.0, num_malicious_nodes=1),
}


@pytest.mark.parametrize("name", STRATEGIES)
def test_two_lines_save_bytes_and_keep_the_curve(name: str) -> None:
    """Unmodified strategies of Flower's own learn as well from compressed messages."""
    torch.use_deterministic_algorithms(True)
    _, plain = run(STRATEGIES[name](), LocalGrid(client_app([]), CLIENTS, {}))
    # Medians and distances of sparse updates say little, and Adam divides by small squares: all values, then.
    uplink, least = (FINE, 4) if name in ("FedMedian", "FedAdam", "Krum") else (THRIFTY, 15)
    app = client_app([compress_mod(uplink)])  # changed line 1
    grid = CompressedGrid(LocalGrid(app, CLIENTS, {}))  # changed line 2
    result, compressed = run(STRATEGIES[name](), grid)
    assert len(compressed) == ROUNDS + 1
    assert np.mean(compressed[-3:]) > np.mean(plain[-3:]) - 0.03
    assert grid.uplink.dense_bytes > least * grid.uplink.payload_bytes > 0
    assert grid.downlink.dense_bytes > 2 * grid.downlink.payload_bytes > 0
    if name == "FedAvg":
        assert len(result.evaluate_metrics_clientapp) == ROUNDS


def test_without_loss_the_result_is_the_same_to_the_bit() -> None:
    """With lossless codecs the drop-in changes nothing at all."""
    plain, _ = run(FedAvg(fraction_evaluate=0.0), LocalGrid(client_app([]), CLIENTS, {}))
    app = client_app([compress_mod("dense", error_feedback=False)])
    wrapped, _ = run(FedAvg(fraction_evaluate=0.0), CompressedGrid(LocalGrid(app, CLIENTS, {}), "dense"))
    for left, right in zip(plain.arrays.to_numpy_ndarrays(), wrapped.arrays.to_numpy_ndarrays(), strict=True):
        np.testing.assert_allclose(left, right, rtol=0, atol=2e-6)


def test_a_client_without_the_mod_is_served_in_full() -> None:
    """Mixed fleets work: an old app behind the new grid sees plain Flower messages."""
    _, plain = run(FedAvg(fraction_evaluate=0.0), LocalGrid(client_app([]), CLIENTS, {}))
    grid = CompressedGrid(LocalGrid(client_app([]), CLIENTS, {}), "linear:6")
    _, behind = run(FedAvg(fraction_evaluate=0.0), grid)
    assert abs(np.mean(behind[-3:]) - np.mean(plain[-3:])) < 0.02


def test_the_mod_without_the_grid_changes_nothing() -> None:
    """A client that has the mod still works with a plain Flower server."""
    _, plain = run(FedAvg(fraction_evaluate=0.0), LocalGrid(client_app([]), CLIENTS, {}))
    _, modded = run(
        FedAvg(fraction_evaluate=0.0), LocalGrid(client_app([compress_mod("topk:0.01")]), CLIENTS, {})
    )
    assert plain == modded


def test_it_works_with_differential_privacy() -> None:
    """Flower's clipping sees plain arrays on both sides, before any compression."""
    strategy = DifferentialPrivacyClientSideFixedClipping(
        FedAvg(fraction_evaluate=0.0), noise_multiplier=0.001, clipping_norm=5.0, num_sampled_clients=CLIENTS
    )
    app = client_app([compress_mod("linear:6"), fixedclipping_mod])
    _, curve = run(strategy, CompressedGrid(LocalGrid(app, CLIENTS, {}), "linear:6"))
    assert curve[-1] > 0.7


def test_a_node_that_lost_its_state_gets_the_model_again() -> None:
    """A restarted device is out for one round, and in again with the next."""

    class Forgetful(LocalGrid):
        rounds = 0

        def send_and_receive(
            self, messages: Iterable[Message], *, timeout: float | None = None
        ) -> list[Message]:
            self.rounds += 1
            if self.rounds == 7:
                self.contexts[2].state.clear()
            return super().send_and_receive(messages, timeout=timeout)

    seen: list[int] = []

    class Counting(FedAvg):
        def aggregate_train(
            self, server_round: int, replies: Iterable[Message]
        ) -> tuple[ArrayRecord | None, MetricRecord | None]:
            replies = list(replies)
            seen.append(sum(reply.has_content() for reply in replies))
            return super().aggregate_train(server_round, replies)

    grid = CompressedGrid(Forgetful(client_app([compress_mod("linear:6")]), CLIENTS, {}), "linear:6")
    run(Counting(fraction_evaluate=0.0), grid)
    assert sorted(seen) == [CLIENTS - 1] + [CLIENTS] * (ROUNDS - 1)
    assert seen[-1] == CLIENTS


def test_a_hostile_reply_becomes_an_error_that_strategies_leave_out() -> None:
    """Bytes that do not decode never reach the strategy."""

    def tamper(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        reply = call_next(message, context)
        if context.node_config["partition-id"] == 0 and message.metadata.message_type == "train":
            put_blob(reply.content, b"alien")
        return reply

    app = client_app([tamper, compress_mod("linear:6")])
    _, curve = run(FedAvg(fraction_evaluate=0.0), CompressedGrid(LocalGrid(app, CLIENTS, {}), "linear:6"))
    assert curve[-1] > 0.7
