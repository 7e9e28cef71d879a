"""The Flower ClientApp: reads messages and Context, calls `train_round`, writes them back. No arithmetic.

What a client remembers lives in `Context.state`, so it is Flower's to carry: in memory in a simulation
and on a SuperNode, in a journal on the link; and on a SuperNode too where it names a folder (`mod_durable`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from flwr.app import ConfigRecord, Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp

from phloem.client.mod_durable import durable
from phloem.client.peer import network_for, open_peer
from phloem.client.records import read_state, write_state
from phloem.client.round import Device, train_round
from phloem.client.stream import stream_of
from phloem.client.submodel import part_of
from phloem.compression.codec import codec
from phloem.config import Experiment, Scalar, from_flat
from phloem.errors import ConfigError, PhloemError, ProtocolError
from phloem.learning import open_learner
from phloem.protocol import (
    MESSAGE,
    VERSION,
    Greeting,
    Hello,
    Instruction,
    error_code,
    model_hash,
)
from phloem.records import get_blob, put_blob
from phloem.seeds import derive
from phloem.sources import open_federation

OWN_DATA = "data"
"""The key of the node's config that names what this device alone learns from; without it, its partition."""

app = ClientApp(mods=[durable])


@app.query()
def greet(message: Message, context: Context) -> Message:
    """Answer Hello: say who this is, and refuse a server that speaks otherwise or has another model."""
    try:
        device = device_of(context)
        hello = Hello.from_mapping(_fields(message))
        if hello.protocol != VERSION:
            raise ProtocolError(
                f"Client and server should speak one protocol. Found {VERSION} here, {hello.protocol} on the "
                "server: install the same version of phloem on both."
            )
        if hello.schema != device.schema.fingerprint:
            raise ProtocolError(
                "Client and server should have the same model. Found another schema on the server: "
                "compare the `model`, `data` and `exchange` sections on both sides."
            )
        greeting = Greeting(client=device.client, first_hash=model_hash(device.first()))
        content = RecordDict({MESSAGE: ConfigRecord(greeting.to_mapping())})
        return Message(content, reply_to=message)
    except PhloemError as error:
        return refusal(error, message)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Do one round."""
    try:
        instruction = Instruction.from_mapping(_fields(message))
        chain = get_blob(message.content)
        if chain is None:
            raise ProtocolError("An instruction should come with a chain of frames. Found none.")
        state = read_state(context.state)
        device = part_of(device_of(context), instruction.mask, state)
        reply, blob, state = train_round(device, instruction, chain, state)
    except PhloemError as error:
        return refusal(error, message)
    write_state(context.state, state)
    content = RecordDict({MESSAGE: ConfigRecord(reply.to_mapping())})
    put_blob(content, blob)
    return Message(content, reply_to=message)


def refusal(error: PhloemError, message: Message) -> Message:
    """Return the error as a reply."""
    return Message(Error(error_code(error), f"{type(error).__name__}: {error}"), reply_to=message)


def device_of(context: Context) -> Device:
    """Return the device this Context belongs to; built once per process, for it loads data and model."""
    own = str(context.node_config.get(OWN_DATA, ""))
    return _device(tuple(sorted(context.run_config.items())), context.node_config.get("partition-id"), own)


def _fields(message: Message) -> Mapping[str, object]:
    return message.content.config_records.get(MESSAGE) or {}


@lru_cache(maxsize=4096)
def _device(settings: tuple[tuple[str, Scalar], ...], partition: Scalar | None, own: str) -> Device:
    experiment = _experiment(settings)
    data = experiment.data.of_one_device(own) if own else experiment.data
    federation = open_federation(data, experiment.run.seed)
    if not isinstance(partition, int) or not 0 <= partition < (2**31 if own else len(federation.shares)):
        raise ConfigError(
            f"The node's partition-id should be in 0..{len(federation.shares) - 1}, one for each of the "
            f"{len(federation.shares)} clients of `data.clients`. Found {partition!r}: start the node with "
            f"--node-config 'partition-id=K', or set data.clients to the number of nodes."
        )
    model = network_for(experiment, partition)
    learner = open_learner(model, federation.input_shape, federation.classes, device=experiment.client.device)
    peer = open_peer(experiment, learner)
    return Device(
        client=str(partition),
        stream=stream_of(federation, 0 if own else partition, experiment.data.when_dry),
        learner=learner,
        config=experiment.client,
        steps=codec(experiment.downlink.codec),
        full=codec(experiment.downlink.anchor),
        first=(lambda: learner.initial(derive(experiment.run.seed, "model"))) if peer is None else peer.first,
        reports_classes=experiment.server.distill.enabled or experiment.exchange.counts_classes,
        reports_fidelity=experiment.uplink.allocate == "bandit",
        inner_widths=experiment.submodel.inner,
        peer=peer,
    )


@lru_cache(maxsize=16)
def _experiment(settings: tuple[tuple[str, Scalar], ...]) -> Experiment:
    return from_flat(dict(settings))
