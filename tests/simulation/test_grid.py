"""The in-process carrier: real bytes, isolation between clients, and errors as replies."""

from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from phloem.server.app import object_bytes
from phloem.simulation.grid import LocalGrid

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Report what was found, then scribble over it; node 3 breaks."""
    if context.node_id == 3:
        raise ValueError("this device is broken")
    config = message.content.config_records["config"]
    found = "scribbled" in config
    config["scribbled"] = 1
    context.state["mine"] = ConfigRecord({"node": context.node_id})
    blob = bytes(range(256)) * 10
    content = RecordDict({"config": ConfigRecord({"found": found, "node": context.node_id})})
    content["update"] = ArrayRecord({"blob": Array("bytes", (len(blob),), "phloem.update.v1", blob)})
    return Message(content, reply_to=message)


def broadcast(grid: LocalGrid) -> list[Message]:
    shared = RecordDict({"config": ConfigRecord({"a": 1})})
    return list(grid.send_and_receive([Message(shared, node, "train") for node in grid.get_node_ids()]))


def test_no_client_sees_what_another_did_to_the_same_message() -> None:
    """One record in all messages, as Flower's strategies make them: each client gets its own copy."""
    replies = [reply for reply in broadcast(LocalGrid(app, 4, {})) if reply.has_content()]
    assert [bool(reply.content.config_records["config"]["found"]) for reply in replies] == [False] * 3


def test_a_client_that_breaks_is_a_reply_and_the_others_go_on() -> None:
    """One broken device does not end a round."""
    replies = broadcast(LocalGrid(app, 4, {}))
    assert [reply.has_error() for reply in replies] == [False, True, False, False]
    assert "this device is broken" in str(replies[1].error.reason)


def test_each_client_keeps_its_own_state() -> None:
    """Context.state is a client's own, and survives until the next message."""
    grid = LocalGrid(app, 2, {})
    broadcast(grid)
    assert grid.contexts[2].state.config_records["mine"]["node"] == 2
    assert "mine" not in grid.contexts[3].state


def test_sizes_are_those_of_the_serialised_objects() -> None:
    """What the grid counted while it carried is what Flower's own serialisation gives."""
    grid = LocalGrid(app, 1, {})
    request = Message(RecordDict({"config": ConfigRecord({"a": 1})}), 2, "train")
    [reply] = grid.send_and_receive([request])
    assert grid.object_bytes(request) == object_bytes(request)
    assert grid.object_bytes(reply) == object_bytes(reply) > 2560


def test_pushed_messages_are_pulled_once() -> None:
    """The other half of Flower's Grid contract."""
    grid = LocalGrid(app, 1, {})
    [message_id] = grid.push_messages([Message(RecordDict({"config": ConfigRecord({"a": 1})}), 2, "train")])
    assert len(grid.pull_messages([message_id])) == 1
    assert grid.pull_messages([message_id]) == []
