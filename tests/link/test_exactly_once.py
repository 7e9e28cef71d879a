"""Exactly once over real connections that break: whatever is lost, doubled or dies, the sums are right.

`python -m tests.link.test_exactly_once` is the long form: 200 rounds, and the naive order beside it.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import ClientAppCallable

from phloem.client.app import greet, train
from phloem.client.journal import Journal
from phloem.client.learner import Learner
from phloem.client.link.answers import Answers
from phloem.client.link.enrol import Membership
from phloem.client.link.node import Node, read_records
from phloem.client.link.session import Device
from phloem.client.records import read_state
from phloem.client.state import settle
from phloem.compression.update import Schema, Update, norm, subtract
from phloem.protocol import Reply
from phloem.records import from_record, to_record
from phloem.server.app import serve
from phloem.server.sanitize import Sane, read_update
from tests.link.rig import QUICK, Link, link
from tests.test_exactly_once import EXPERIMENT, _Sum

RAW = "raw"
"""Record of the Context that sums what was learned: what is undone is undone there too."""

DEADLINE_S = 1.0
FATES = ("reply lost", "reply lost for good", "crash before the journal", "crash after it", "reply twice")
SHARES = (0.05, 0.05, 0.05, 0.05, 0.05)
"""10 % lost replies, half of them for longer than the server waits; 10 % crashes; 5 % duplicates."""
OFTEN = (0.1,) * 5
"""For a short test."""


class Crash(BaseException):
    """The device's process is gone: nothing that it had in memory comes back."""


@dataclass
class Faulty(Answers):
    """A device's way up on which each training answer meets a fate drawn from a seed."""

    draw: Callable[[], str] = lambda: "well"

    async def send(self, number: int, head: bytes, data: tuple[bytes, ...]) -> None:
        """Answer as an honest device would, but for what happens to it."""
        fate = self.draw()
        if fate == "crash before the journal":
            self.node.journal.commit = _die  # type: ignore[method-assign, assignment]
        if fate == "crash after it":
            await asyncio.to_thread(self.node.answer, number, head, data)
            raise Crash
        if fate.startswith("reply lost"):
            await asyncio.to_thread(self.node.answer, number, head, data)
            if fate.endswith("for good"):
                await asyncio.sleep(DEADLINE_S)
            gone = grpc.aio.Metadata()
            raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, gone, gone, "the network went")
        await super().send(number, head, data)
        if fate == "reply twice":
            await super().send(number, head, data)


def _die(*_: object) -> None:
    raise Crash


@dataclass
class Fleet:
    """Devices that are started again whenever they crash, with what is in their journals."""

    made: Link
    app: Callable[[Message, Context], Message]
    rng: np.random.Generator
    shares: tuple[float, ...]
    fates: Counter[str] = field(default_factory=Counter)
    greeted: set[int] = field(default_factory=set)

    def draw(self, place: int) -> str:
        """Return the fate of a device's next answer; its greeting is left alone."""
        if place not in self.greeted:
            self.greeted.add(place)
            return "well"
        chance = self.rng.random()
        fate = next(
            (f for f, most in zip(FATES, np.cumsum(self.shares), strict=True) if chance < most), "well"
        )
        self.fates[fate] += 1
        return fate

    async def keep_up(self, place: int, member: Membership) -> None:
        """Run a device; after a crash, run it again."""
        path = self.made.folder / f"device-{place}" / "journal.sqlite"
        while True:
            with Journal(path) as journal:
                device = Device(Node(self.app, journal), member, QUICK)
                device.answers = partial(Faulty, draw=partial(self.draw, place))
                try:
                    return await device.attend()
                except Crash:
                    continue

    def start(self, place: int) -> None:
        """Begin a device's life."""
        work = self.keep_up(place, self.made.member(place))
        self.made.running.append(asyncio.run_coroutine_threadsafe(work, self.made.service.loop))


@contextmanager
def books(naive: bool) -> Iterator[tuple[ClientApp, dict[str, _Sum], dict[str, int]]]:
    """Write down what each client learns, in its own Context, and what the server applies of it.

    With `naive`, clients take every update that they sent for applied.
    """
    applied: dict[str, _Sum] = defaultdict(_Sum)
    acked: dict[str, int] = defaultdict(int)
    learn, here = Learner.learn, threading.local()

    def watched_learn(self: Learner, weights: Update, *rest: Any, **more: Any) -> Update:
        trained = learn(self, weights, *rest, **more)
        here.learned = subtract(trained, weights)
        return trained

    def watched_read(reply: Reply, blob: bytes, *rest: Any) -> Sane:
        sane = read_update(reply, blob, *rest)
        applied[reply.client].add(sane.update)
        acked[reply.client] = reply.seq
        return sane

    def watch(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        here.learned = None
        reply = call_next(message, context)
        if here.learned is not None:
            raw = _Sum()
            if RAW in context.state:
                raw.add(from_record(context.state.array_records[RAW]))
            raw.add(here.learned)
            context.state[RAW] = to_record(raw, np.float64)
        return reply

    app = ClientApp(mods=[watch])
    app.query()(greet)
    app.train()(train)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Learner, "learn", watched_learn)
        patch.setattr("phloem.server.hear.read_update", watched_read)
        if naive:
            patch.setattr(
                "phloem.client.round.settle", lambda state, acked, schema: replace(state, pending=None)
            )
        yield app, applied, acked


def run(
    folder: Path, rounds: int, shares: tuple[float, ...], *, naive: bool = False
) -> tuple[float, Counter[str]]:
    """Return the largest relative error of any client's books after so many rounds, and what happened."""
    experiment = EXPERIMENT.with_values(
        {"run.rounds": rounds, "server.round_timeout_s": DEADLINE_S, "server.clients_per_round": 0}
    )
    clients, errors = experiment.data.clients, []
    with books(naive) as (app, applied, acked):
        with link(folder, experiment.link, experiment.to_flat(), clients) as made:
            fleet = Fleet(made, app, np.random.default_rng(1), shares)
            for place in range(clients):
                fleet.start(place)
            made.wait_for(clients)
            serve(made.grid, experiment, folder / "run")
        for place in range(clients):
            client, records = str(place), state_of(folder / f"device-{place}")
            found, raw = applied[client], from_record(records.array_records[RAW])
            state = read_state(records)
            settled = settle(state, acked[client], Schema.of(state.model or {}))
            found.add(settled.codec.residual or {})
            errors.append(norm(subtract(found, raw)) / norm(raw))
    return max(errors), fleet.fates


def state_of(device: Path) -> RecordDict:
    """Return the Context's records as a device would find them after a restart."""
    with Journal(device / "journal.sqlite") as journal:
        number = int.from_bytes(journal.fact("run") or b"", "little")
        return read_records(journal.state(number))


def test_the_sums_are_right_whatever_breaks(tmp_path: Path) -> None:
    """Sum applied + sum held back = sum learned, for each device, through every kind of fault."""
    error, fates = run(tmp_path, 10, OFTEN)
    assert error <= 1e-6
    assert set(FATES) <= set(fates), "the test should meet every fault"


def test_the_naive_order_loses_what_was_learned(tmp_path: Path) -> None:
    """The same faults without the protocol: the test can fail."""
    error, _ = run(tmp_path, 10, OFTEN, naive=True)
    assert error > 1e-3


if __name__ == "__main__":
    for naive in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            began = time.monotonic()
            error, fates = run(Path(folder), 200, SHARES, naive=naive)
            seconds = time.monotonic() - began
        print(
            f"{'naive' if naive else 'exactly once'}: {error:.1e}, {dict(fates)}, {seconds:.0f} s", flush=True
        )
        if naive == (error <= 1e-6):
            sys.exit(3)
