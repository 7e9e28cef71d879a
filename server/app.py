"""The Flower ServerApp: greets the clients, runs the strategy, leaves a run folder behind.

run folder: experiment.toml  run.sqlite  model.safetensors
"""

from __future__ import annotations

import platform
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, no_object_id_recompute

import phloem
from phloem import ledger as rows
from phloem.compression.update import digest
from phloem.config import Experiment, from_flat
from phloem.errors import ConfigError, ProtocolError, RunError
from phloem.learning import open_learner
from phloem.ledger import Ledger
from phloem.protocol import MESSAGE, VERSION, Greeting, Hello, client_order
from phloem.records import to_record
from phloem.server.checkpoint import save_model
from phloem.server.round import ServerState, Setting, first_state
from phloem.server.sanitize import brief
from phloem.server.strategy import DeltaAverage, RoundReport
from phloem.sources import open_federation
from phloem.summary import LEDGER_NAME

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the experiment that Flower's run-config describes."""
    experiment = from_flat(context.run_config)
    directory = Path(experiment.run.directory or f"runs/{datetime.now(UTC):%Y%m%d-%H%M%S}-{context.run_id}")
    serve(grid, experiment, directory, facts={"command": "flwr run ."})


def serve(
    grid: Grid,
    experiment: Experiment,
    directory: Path,
    *,
    facts: Mapping[str, str] | None = None,
    on_round: Callable[[RoundReport], None] = lambda report: None,
) -> ServerState:
    """Run `experiment` over whatever `grid` reaches, and leave the run in `directory`.

    However it ends, Ctrl-C included, the ledger and the model there are those of the last finished round.

    Raises:
        ConfigError: a setting that cannot work; nothing was sent.
        RunError: the clients did not come, or the run could not go on.
    """
    setting = prepare(experiment)
    _make(directory)
    measure = getattr(grid, "object_bytes", object_bytes)  # a carrier that has counted already need not again
    identity = {"carrier": type(grid).__name__, **(facts or {}), **facts_of(setting)}
    with Ledger.create(directory / LEDGER_NAME, identity) as ledger:
        strategy = None
        try:
            (directory / "experiment.toml").write_text(experiment.to_toml(), encoding="utf-8")
            nodes, hashes = greet(grid, setting, ledger, measure)
            strategy = DeltaAverage(
                setting,
                first_state(setting, hashes),
                nodes,
                ledger,
                measure,
                save=lambda state, round_number: _save(directory, state, round_number),
                on_round=on_round,
            )
            strategy.evaluate_first()
            strategy.start(
                grid=grid,
                initial_arrays=to_record(strategy.state.model),
                num_rounds=experiment.run.rounds,
                timeout=experiment.server.round_timeout_s,
            )
            ledger.fact("model_sha256", digest(strategy.state.model))
            _end(ledger, "finished")
        except BaseException as error:
            ledger.rollback()  # of a round that did not finish nothing stays
            _end(ledger, "interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
            if strategy is not None:
                strategy.save_again()
            raise
    return strategy.state


def prepare(experiment: Experiment) -> Setting:
    """Open data and model; whatever is wrong with the settings shows here, before any training."""
    federation = open_federation(experiment.data, experiment.run.seed)
    learner = open_learner(
        experiment.model, federation.input_shape, federation.classes, device=experiment.client.device
    )
    if experiment.server.distill.enabled and not (len(federation.proxy) and len(federation.validation)):
        raise ConfigError(
            "`server.distill` needs proxy and validation samples. Found none: raise `data.proxy_fraction` "
            "and `data.validation_fraction`."
        )
    return Setting(experiment, federation, learner)


def greet(
    grid: Grid, setting: Setting, ledger: Ledger, measure: Callable[[Message], int]
) -> tuple[dict[str, int], dict[str, bytes]]:
    """Ask every node who it is; return each client's node, and its hash of the first version.

    Raises:
        RunError: a node did not come, did not answer, or gave no name of its own.
    """
    node_ids = _wait_for_nodes(grid, setting)
    hello = Hello(VERSION, setting.learner.schema.fingerprint)
    sent = [
        Message(RecordDict({MESSAGE: ConfigRecord(hello.to_mapping())}), node, "query") for node in node_ids
    ]
    replies = list(grid.send_and_receive(sent, timeout=setting.experiment.server.connect_timeout_s))
    asked = {message.metadata.message_id: message for message in sent}
    nodes: dict[str, int] = {}
    hashes: dict[str, bytes] = {}
    for reply in replies:
        message = asked.pop(reply.metadata.reply_to_message_id, None)
        if message is None:
            continue  # answers nothing that was asked, or what has been answered
        node = message.metadata.dst_node_id
        greeting = _greeting_in(reply, node)
        client = greeting.client
        if client in nodes:
            raise RunError(
                f"Each client should be there once. Found {client!r} on nodes {nodes[client]} and {node}. "
                "Give each its own partition-id."
            )
        nodes[client], hashes[client] = node, greeting.first_hash
        ledger.record(_hello_row(client, "down", measure(message)), _hello_row(client, "up", measure(reply)))
    if asked:
        silent = ", ".join(str(message.metadata.dst_node_id) for message in asked.values())
        raise RunError(
            f"All {len(node_ids)} clients should answer the greeting. Found {len(nodes)} answers within "
            f"{setting.experiment.server.connect_timeout_s:g} s, none of node {silent}: see its log."
        )
    return {client: nodes[client] for client in sorted(nodes, key=client_order)}, hashes


def _greeting_in(reply: Message, node: int) -> Greeting:
    """Return a Greeting with a name that can stand in a ledger; the reply may hold anything."""
    if reply.has_error():
        raise RunError(f"Node {node} refused the run: {brief(reply.error.reason)}")
    try:
        fields = reply.content.config_records.get(MESSAGE) if reply.has_content() else None
        greeting = Greeting.from_mapping(dict(fields or {}))
    except ProtocolError as error:
        raise RunError(f"Node {node} should have answered with a Greeting. Found: {brief(error)}") from None
    if not re.fullmatch(r"[\w.-]{1,64}", greeting.client):
        raise RunError(
            f"A client's name should be 1..64 letters, digits or '_.-'. Found {brief(repr(greeting.client))} "
            f"on node {node}. Give it another name."
        )
    return greeting


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
        "dense_bytes": str(schema.dense_bytes),
        "uplink_codec": experiment.uplink.codec,
        "downlink_codec": experiment.downlink.codec,
    }


def _wait_for_nodes(grid: Grid, setting: Setting) -> list[int]:
    wanted, patience = len(setting.federation.shares), setting.experiment.server.connect_timeout_s
    deadline = time.monotonic() + patience
    while True:
        found = sorted(grid.get_node_ids())
        if len(found) == wanted:
            return found
        if len(found) > wanted or time.monotonic() > deadline:
            raise RunError(
                f"The run needs {wanted} nodes, one for each client of `data.clients`. Found {len(found)} "
                f"(waited up to {patience:g} s). Start the missing ones, or set data.clients={len(found)}; "
                f"in Flower's simulation: --federation-config 'num-supernodes={wanted}'."
            )
        time.sleep(0.2)


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


def _save(directory: Path, state: ServerState, round_number: int) -> None:
    save_model(directory / "model.safetensors", state.model, {"round": str(round_number)})


def _hello_row(client: str, direction: rows.Direction, size: int) -> rows.Message:
    return rows.Message(0, client, direction, "hello", "", 0, 0, 0, size, None, 0, None, None)
