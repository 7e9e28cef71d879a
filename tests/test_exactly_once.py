"""Exactly once: whatever a carrier loses, doubles or delays, nothing learned is lost or counted twice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

import numpy as np
import pytest
from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import ClientAppCallable
from hypothesis import given, settings
from hypothesis import strategies as st

from phloem.client.app import greet, train
from phloem.client.learner import Learner
from phloem.client.records import read_state
from phloem.client.state import settle
from phloem.compression.codec import Codec
from phloem.compression.update import Schema, Update, norm, subtract
from phloem.config import ClientConfig, Experiment
from phloem.errors import RunError
from phloem.protocol import Reply
from phloem.server.app import serve
from phloem.server.sanitize import Limits, Sane, read_update
from phloem.simulation.grid import LocalGrid
from phloem.simulation.network import network_of
from phloem.sources import Samples

EXPERIMENT = Experiment().with_values(
    {
        "data.clients": 3,
        "model.hidden": 4,
        "client.epochs": 1,
        "server.clients_per_round": 2,
        "run.rounds": 6,
    }
)
OVER_SELECTED = EXPERIMENT.with_values({"server.clients_per_round": 1, "server.over_selection": 2.0})
IN_PARTS = EXPERIMENT.with_values({"submodel.widths": "0.5,1,0.5"})
FATES = ("well", "request lost", "reply lost", "reply twice", "reply late", "crash after learning")
fates = st.lists(st.sampled_from(FATES), min_size=12, max_size=12)


class _Sum(dict[str, np.ndarray]):
    """A sum of updates, in float64, of whatever part of the network they are."""

    def add(self, update: Update) -> None:
        for name, tensor in update.items():
            self[name] = self.get(name, np.zeros(tensor.shape)) + tensor


class _Chaos(LocalGrid):
    """The in-process carrier, on which each message meets its own fate; the greeting is left alone."""

    def __init__(self, app: ClientApp, todo: list[str], experiment: Experiment) -> None:
        super().__init__(app, experiment.data.clients, experiment.to_flat(), network=network_of(experiment))
        self.todo, self.late, self.crashing = todo.copy(), list[Message](), False

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        arrived, self.late, messages = self.late, [], list(messages)
        if self._network is not None:  # in the order of arrival, which here is that of asking
            messages.sort(key=partial(self._fate, self._network))
        for message in messages:
            fate = self.todo.pop(0) if message.metadata.message_type == "train" else "well"
            self.crashing = fate == "crash after learning"
            if fate == "request lost":
                self._carry(message)
                continue
            [reply] = self._deliver([message])
            if fate == "reply late":
                self.late.append(reply)
            elif fate != "reply lost":
                arrived += [reply] * (2 if fate == "reply twice" else 1)
        return arrived


@contextmanager
def books(
    carriers: list[_Chaos],
) -> Iterator[tuple[ClientApp, dict[str, _Sum], dict[str, _Sum], dict[str, int]]]:
    """Write down what each client learns and what the server applies of it; the app is for the carrier."""
    learned: dict[str, _Sum] = defaultdict(_Sum)
    applied: dict[str, _Sum] = defaultdict(_Sum)
    acked: dict[str, int] = defaultdict(int)
    just_learned: list[Update] = []
    learn = Learner.learn

    def watched_learn(
        self: Learner, weights: Update, samples: Samples, config: ClientConfig, seed: int
    ) -> Update:
        trained = learn(self, weights, samples, config, seed)
        if carriers[0].crashing:
            raise OSError("the power went")
        just_learned.append(subtract(trained, weights))
        return trained

    def watched_read(reply: Reply, blob: bytes, codec: Codec, schema: Schema, limits: Limits) -> Sane:
        sane = read_update(reply, blob, codec, schema, limits)
        if reply.seq > acked[reply.client]:  # over-selection reads a reply before it is applied as well
            applied[reply.client].add(sane.update)
            acked[reply.client] = reply.seq
        return sane

    def watch(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        just_learned.clear()
        reply = call_next(message, context)
        for delta in just_learned:
            learned[str(context.node_config["partition-id"])].add(delta)
        return reply

    app = ClientApp(mods=[watch])
    app.query()(greet)
    app.train()(train)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Learner, "learn", watched_learn)
        patch.setattr("phloem.server.hear.read_update", watched_read)
        yield app, learned, applied, acked


@pytest.mark.parametrize(
    "experiment", [EXPERIMENT, OVER_SELECTED, IN_PARTS], ids=["as many", "over-selected", "in parts"]
)
@given(todo=fates)
@settings(max_examples=25)
def test_applied_and_held_back_is_what_was_learned(
    tmp_path_factory: pytest.TempPathFactory, experiment: Experiment, todo: list[str]
) -> None:
    """Protects the first promise of the protocol, for each client: sum applied + residual = sum learned.

    Over-selected, a reply that comes after enough others is not applied either, and returns as well.
    """
    carriers: list[_Chaos] = []
    with books(carriers) as (app, learned, applied, acked):
        carriers.append(_Chaos(app, todo, experiment))
        with suppress(
            RunError
        ):  # too many rounds in a row without a usable reply: the sums hold all the same
            serve(carriers[0], experiment, tmp_path_factory.mktemp("run") / "run")
        for context in carriers[0].contexts.values():
            client = str(context.node_config["partition-id"])
            state = read_state(context.state)
            state = settle(state, acked[client], Schema.of(state.model or {}))
            found = applied[client]
            found.add(state.codec.residual or {})
            assert norm(subtract(learned[client], found)) <= 1e-6 * norm(learned[client])
