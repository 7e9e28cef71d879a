"""The Flower ServerApp: greets the clients, runs the strategy, leaves a run folder behind.

run folder: experiment.toml  run.sqlite  model.safetensors  and, until the run is finished, checkpoint/
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
from flwr.app import Context, Message
from flwr.serverapp import Grid, ServerApp
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, no_object_id_recompute

import phloem
from phloem.compression.update import digest
from phloem.config import Experiment, from_flat
from phloem.errors import ConfigError, PhloemError
from phloem.learning import open_learner
from phloem.ledger import Ledger
from phloem.records import to_record
from phloem.server.account import Weight
from phloem.server.app_greeting import Greeter
from phloem.server.checkpoint import FOLDER, NOBODY, Clients, Keeper, save_model
from phloem.server.consensus import open_consensus
from phloem.server.grid_round import RoundGrid, tells_nodes
from phloem.server.parts import told
from phloem.server.reopen import alone, open_ledger
from phloem.server.round import admit, first_state
from phloem.server.slots import Slots, clear, write_whole
from phloem.server.state import ServerState, Setting
from phloem.server.strategy import DeltaAverage, RoundReport
from phloem.sources import open_federation

app = ServerApp()

Reach = Callable[[str, int], None]
"""Called with a label and the round wherever a crash leaves something of its own kind behind."""


def go_on(label: str, round_number: int) -> None:
    """Pass the point."""


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the experiment that Flower's run-config describes."""
    experiment = from_flat(context.run_config)
    directory = Path(experiment.run.directory or f"runs/{datetime.now(UTC):%Y%m%d-%H%M%S}-{context.run_id}")
    serve(grid, experiment, directory, facts={"command": "flwr run ."}, resume=experiment.run.resume)


def serve(
    grid: Grid,
    experiment: Experiment,
    directory: Path,
    *,
    facts: Mapping[str, str] | None = None,
    on_round: Callable[[RoundReport], None] = lambda report: None,
    resume: bool = False,
    reach: Reach = go_on,
) -> ServerState:
    """Run `experiment` over whatever `grid` reaches, and leave the run in `directory`.

    However it ends, Ctrl-C included, the ledger and the model there are those of the last finished round.
    With `resume` a run that was broken off there goes on from its last checkpoint, to the same bits.

    Raises:
        ConfigError: a setting that cannot work; nothing was sent.
        RunError: the clients did not come, or the run could not go on.
    """
    setting = prepare(experiment)
    _make(directory)
    weigh = scales(grid)
    clients: Clients = grid if isinstance(grid, Clients) else NOBODY
    identity = {"carrier": type(grid).__name__, **(facts or {}), **facts_of(setting)}
    with alone(directory), open_ledger(directory, experiment, identity, resume=resume) as (ledger, found):
        strategy = None
        try:
            write_whole(directory / "experiment.toml", experiment.to_toml().encode())
            if found is not None:
                clients.restore_states(found.clients)
            # What a resumed run's greeting weighs is not counted, as what was sent in a round that did not
            # finish is not: the ledger is that of a run nobody broke off.
            record = ledger.record if found is None else lambda *row: None
            answers = Greeter(grid, setting, weigh, record).all_clients()
            reach("greeted", 0 if found is None else found.round)
            hashes = answers.hashes
            state = first_state(setting, hashes) if found is None else admit(found.state, hashes)
            slots = Slots(directory / FOLDER, number=0 if found is None else found.number + 1)
            keeper = Keeper(experiment, clients, slots)
            strategy = DeltaAverage(
                setting,
                state,
                answers.nodes,
                ledger,
                weigh,
                save=partial(_save, directory, keeper, reach),
                on_round=on_round,
                reach=reach,
                join=partial(Greeter(grid, setting, weigh, ledger.record).newcomers, set(answers.wrong)),
                done=0 if found is None else found.round,
            )
            if found is None:
                strategy.evaluate_first()
            strategy.start(
                grid=_patient(grid, strategy),
                initial_arrays=to_record(strategy.state.deployed),
                num_rounds=experiment.run.rounds - strategy.done,
                timeout=experiment.server.round_timeout_s,
            )
            for key, value in told(setting, strategy.state.model).items():
                ledger.fact(key, value)
            ledger.fact("model_sha256", digest(strategy.state.deployed))
            _end(ledger, "finished")
            clear(directory / FOLDER)
        except BaseException as error:
            ledger.rollback()  # of a round that did not finish nothing stays
            end = "interrupted" if isinstance(error, (KeyboardInterrupt, SystemExit)) else "failed"
            with suppress(PhloemError, OSError):  # a full disk takes no more words; the first one counts
                _end(ledger, end)
                if strategy is not None:
                    _save_again(directory, strategy, ledger)
            raise
    return strategy.state


def _patient(grid: Grid, strategy: DeltaAverage) -> Grid:
    """Return what carries the rounds: where there is nobody to wait for, the carrier itself."""
    server = strategy.setting.experiment.server
    asks_again = tells_nodes(grid) and server.absence_s > 0
    if isinstance(grid, Clients) or not (server.over_selection > 1 or asks_again):
        return grid
    return RoundGrid(grid, server.absence_s, strategy.needed, strategy.is_usable)


def prepare(experiment: Experiment) -> Setting:
    """Open data and model; whatever is wrong with the settings shows here, before any training."""
    federation = open_federation(experiment.data, experiment.run.seed)
    learner = open_learner(
        experiment.model, federation.input_shape, federation.classes, device=experiment.client.device
    )
    wanted = experiment.server.distill
    asked = len(federation.proxy) or wanted.proxy != "given"
    if wanted.enabled and not (len(federation.validation) and asked):
        raise ConfigError(
            "`server.distill` needs proxy and validation samples. Found none: raise `data.proxy_fraction` "
            "and `data.validation_fraction`, or the latter and set `server.distill.proxy` to 'noise'."
        )
    if not experiment.submodel.whole:
        _ = learner.layout  # a network that cannot be cut is refused here
    return Setting(experiment, federation, learner, open_consensus(experiment, learner))


def scales(grid: Grid) -> Callable[[Message], Weight]:
    """Return what weighs a carried message: `grid` where it has counted, Flower's objects elsewhere."""
    objects: Callable[[Message], int] = getattr(grid, "object_bytes", object_bytes)
    wire: Callable[[Message], int | None] = getattr(grid, "wire_bytes", lambda message: None)
    return lambda message: Weight(objects(message), wire(message))


def object_bytes(message: Message) -> int:
    """Return the size of a message as Flower hands it to a carrier: the sum of its serialised objects."""
    with no_object_id_recompute():
        return sum(len(part.deflate()) for part in get_all_nested_objects(message).values())


def facts_of(setting: Setting) -> dict[str, str]:
    """Return what a reader of the ledger needs to know about the run."""
    experiment, schema = setting.experiment, setting.learner.schema
    return {
        "state": "running",
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "version_phloem": phloem.__version__,
        "version_python": platform.python_version(),
        "version_numpy": np.__version__,
        "version_flwr": version("flwr"),
        "version_torch": version("torch"),
        "platform": platform.platform(),
        "seed": str(experiment.run.seed),
        "rounds": str(experiment.run.rounds),
        "clients": str(len(setting.federation.shares)),
        "model_parameters": str(schema.parameters),
        "dense_bytes": str(setting.shared.dense_bytes),
        "uplink_codec": experiment.uplink.codec,
        "downlink_codec": experiment.downlink.codec,
    }


def _make(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"The run's folder {str(directory)!r} should be one that can be made. Found: {error.strerror}. "
            "Name another."
        ) from error


def _end(ledger: Ledger, state: str) -> None:
    ledger.fact("state", state)
    ledger.fact("finished_at", datetime.now(UTC).isoformat(timespec="seconds"))
    ledger.commit()


def _save(directory: Path, keeper: Keeper, reach: Reach, state: ServerState, round_number: int) -> None:
    experiment = keeper.experiment
    every, last = experiment.server.checkpoint_every, experiment.run.rounds
    if every and (round_number % every == 0 or round_number == last):
        keeper.slots.reach = lambda label: reach(label, round_number)
        keeper.save(state, round_number)
    _save_model(directory, state, round_number)


def _save_model(directory: Path, state: ServerState, round_number: int) -> None:
    save_model(directory / "model.safetensors", state.deployed, {"round": str(round_number)})


def _save_again(directory: Path, strategy: DeltaAverage, ledger: Ledger) -> None:
    """Save the model of the ledger's last round, where the run broke off between the two."""
    [(last,)] = ledger.query("SELECT coalesce(max(round), 0) FROM round")
    if strategy.done == last:
        _save_model(directory, strategy.state, last)
