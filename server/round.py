"""One round of the server, as a function of values: (state, replies) -> (state, what happened).

    replies, in the order of client ids ─> check, decode ─> mean ─> (distill) ─> next version ─> acknowledge

Replies are decoded one at a time: beside their blobs, memory does not grow with the number of clients.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace

from phloem.compression.codec import codec
from phloem.compression.update import Update, is_finite
from phloem.errors import RunError
from phloem.protocol import client_order, model_hash
from phloem.seeds import derive, generator
from phloem.server.allocate import choose_levels, observe
from phloem.server.distill.fusion import distill
from phloem.server.hear import hear
from phloem.server.held import Downlink, Path, begin
from phloem.server.holdings import Holdings
from phloem.server.late import to_ask
from phloem.server.parts import assign
from phloem.server.react import most_have_second, react, swapped, with_asked
from phloem.server.state import Arrived, Outcome, Refused, ServerState, Setting


def first_state(setting: Setting, clients: Mapping[str, bytes]) -> ServerState:
    """Return the state before the first round; `clients` gives each one's hash of the first version."""
    experiment = setting.experiment
    network = setting.learner.initial(derive(experiment.run.seed, "model"))
    model = network if setting.consensus is None else setting.consensus.first()
    same = model_hash(model)
    makers = [client for client, found in clients.items() if found == same]
    state = ServerState(model, Holdings(begin(model, makers)), dict.fromkeys(clients, 0))
    return state if setting.consensus is None else replace(state, network=network)


def admit(state: ServerState, clients: Mapping[str, bytes]) -> ServerState:
    """Return the state with those clients that were not in it, each with its hash of the first version."""
    held, acked = state.held, dict(state.acked)
    for client in sorted(set(clients) - set(acked), key=client_order):
        held, acked[client] = held.welcome(client, clients[client]), 0
    return replace(state, held=held, acked=acked)


def start_over(state: ServerState, clients: Iterable[str]) -> ServerState:
    """Return the state where these clients, which lost all they kept, hold nothing but what they can make."""
    held = state.held
    for client in clients:
        held = held.forget(client)
    return replace(state, held=held)


def choose(
    setting: Setting, state: ServerState, round_number: int, here: Container[str] | None = None
) -> list[str]:
    """Return the clients of a round, in order: the same for the same seed, whatever carries them.

    `here` are those that can be reached; all, if it is left out.

    Raises:
        RunError: nobody is left.
    """
    known = sorted(state.acked, key=client_order)
    clients = [
        client
        for client in known
        if (here is None or client in here) and not state.strikes.out(client, round_number)
    ]
    if known and not clients:
        raise RunError(
            f"Some client should be left to ask in round {round_number}. Found none: of {len(known)} all are "
            "gone, or left out for their replies. See the ledger's rejections, or raise `server.strikes`."
        )
    wanted = to_ask(setting.experiment.server, len(clients))
    if wanted >= len(clients):
        return clients
    rng = generator(setting.experiment.run.seed, "choose", round_number)
    chosen = [clients[i] for i in sorted(rng.choice(len(clients), wanted, replace=False))]
    return with_asked(state.reactions, chosen, clients)


def instruct(
    setting: Setting, state: ServerState, round_number: int, clients: Sequence[str]
) -> tuple[ServerState, dict[str, Path]]:
    """Return the path of each client to the global model, and the state once these are sent."""
    config = setting.experiment.downlink
    downlink = Downlink(codec(config.codec), codec(config.anchor), config.held_models, config.error)
    seed = derive(setting.experiment.run.seed, "downlink", round_number)
    held, found = state.held, dict[str, Path]()
    if not setting.experiment.submodel.whole:
        held = assign(held, clients, setting.experiment.submodel, setting.learner.layout, state.model)
    for side, model in enumerate(state.models):
        here = [client for client in clients if state.reactions.side(client) == side]
        for mask in sorted({b""} | {held.mask(client) for client in here}):
            group = [client for client in here if held.mask(client) == mask]
            part = setting.part(held, group[0]) if group else None
            wanted = model if part is None else part.narrow(model)
            held, paths = held.send(group, wanted, downlink, seed=seed, keep=clients)
            found |= paths
    left = (setting.experiment.run.rounds - round_number + 1) * len(clients)
    levels = choose_levels(setting.experiment.uplink, state.levels, clients, round_number, left)
    return replace(state, held=held, levels=levels), {client: found[client] for client in clients}


def aggregate(setting: Setting, state: ServerState, round_number: int, arrived: Iterable[Arrived]) -> Outcome:
    """Apply the replies of a round; or none of them, where too few are usable.

    Replies count in sorted order of client ids, so the last bits do not depend on who was fast.

    Raises:
        RunError: the aggregate is not finite in spite of every check.
    """
    server = setting.experiment.server
    found = hear(setting, state, round_number, arrived)
    accepted, refused, heard, teacher = found.accepted, found.refused, found.replies, found.teacher
    held, acked, strikes = found.held, found.acked, found.strikes
    usable = found.asked - len(refused)
    if usable < server.quorum * found.enough:
        text = f"Of {found.enough} replies {usable} were usable, fewer than `server.quorum` asks for."
        refused += [Refused(item.sane.reply.client, "quorum", text) for item in accepted]
        kept = {client: state.acked[client] for client in (item.sane.reply.client for item in accepted)}
        state = replace(state, held=held, acked={**acked, **kept}, strikes=strikes)
        return Outcome(state, (), tuple(refused), None, tuple(heard))

    model: Update
    model, memory = found.gatherings[0].apply_to(state.model, state.memory, round_number)
    network, consensus, votes = state.network, setting.consensus, found.votes
    if consensus is not None:
        voted = model if votes is None else votes.apply_to(state.model, server.learning_rate)
        model = consensus.bounded(voted)
        network = consensus.learned(network, model, round_number)
    reactions = state.reactions
    if reactions.second:
        second, second_memory = found.gatherings[1].apply_to(reactions.second, reactions.memory, round_number)
        reactions = replace(reactions, second=second, memory=second_memory)
    if not (is_finite(model) and is_finite(reactions.second)):
        raise RunError(
            f"The global model should be finite. Found NaN or infinity in round {round_number}. "
            "Lower `server.learning_rate` or `server.max_change`."
        )
    distilled = None
    if teacher is not None and teacher.votes is not None:
        seed = derive(setting.experiment.run.seed, "distill", round_number)
        teacher.hear_again(state.model, server.distill.previous)
        distilled = distill(model, teacher, setting.federation.validation, server.distill, seed=seed)
        model = distilled.model

    told = [(item.sane.reply, item.payload_bytes) for item in accepted]
    levels = observe(setting.experiment.uplink, state.levels, round_number, told)
    reactions, did = react(server, reactions, model, heard)
    if most_have_second(reactions, tuple(acked)):
        (model, memory), reactions = reactions.first(), swapped(reactions, model, memory, tuple(acked))
    after = ServerState(model, held, acked, memory, strikes, levels, reactions, network)
    return Outcome(after, tuple(accepted), tuple(refused), distilled, tuple(heard), did)
