"""A device that is there and says nothing: a round waits no longer than it should, nothing late is taken."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flwr.app import ConfigRecord, Message, RecordDict

from phloem.config import LinkConfig
from phloem.records import put_blob
from phloem.server.grid_round import RoundGrid
from tests.link.rig import Link, counting_app, link

DEADLINE_S, FOREVER_S = 1.0, 1e6
START_S = 60.0
DEVICE = """
import sys
from phloem.cli.main import main
app = "phloem.client.link.echo:app"
sys.argv = ["phloem", "join", sys.argv[1], "--state", sys.argv[2], "--app", app, "--once"]
main()
"""


@pytest.fixture
def silenced(tmp_path: Path) -> Iterator[tuple[Link, int, Callable[[signal.Signals], None]]]:
    """A link, its node that can be made silent, and how; that is a process of its own, another is not."""
    with link(tmp_path, LinkConfig(absence_s=FOREVER_S)) as made:
        token, state = made.token(1), tmp_path / "silent"
        env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        device = subprocess.Popen([sys.executable, "-c", DEVICE, token, str(state)], env=env)
        try:
            deadline = time.monotonic() + START_S
            while not made.grid.get_node_ids():
                assert device.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)
            [silent] = made.grid.get_node_ids()
            made.start(0, counting_app())
            made.wait_for(2)
            yield made, silent, device.send_signal
        finally:
            device.send_signal(signal.SIGCONT)
            made.service.farewell(silent, finished=True, reason="The test is over.")
            assert device.wait(START_S) == 0


def ask(made: Link, number: int, timeout: float, needed: int = 2) -> list[int]:
    """Ask both devices over a RoundGrid; return the nodes that answered, in the order of their arrival."""
    around = RoundGrid(made.grid, 0.0, lambda: needed, lambda reply: reply.has_content())
    messages = []
    for node in made.grid.get_node_ids():
        content = RecordDict({"asked": ConfigRecord({"number": number})})
        put_blob(content, b"echo")
        messages.append(Message(content, node, "train"))
    return [reply.metadata.src_node_id for reply in around.send_and_receive(messages, timeout=timeout)]


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="stops a process, which needs POSIX")
def test_a_round_ends_without_a_device_that_is_silent(
    silenced: tuple[Link, int, Callable[[signal.Signals], None]],
) -> None:
    """Protects every round: at its deadline it goes on with who answered, and sooner where that is enough."""
    made, silent, send_signal = silenced
    [other] = set(made.grid.get_node_ids()) - {silent}
    assert sorted(ask(made, 1, START_S)) == sorted([silent, other])
    send_signal(signal.SIGSTOP)
    began = time.monotonic()
    assert ask(made, 2, DEADLINE_S) == [other]
    assert time.monotonic() - began >= DEADLINE_S
    assert ask(made, 3, FOREVER_S, needed=1) == [other]
    send_signal(signal.SIGCONT)
    assert sorted(ask(made, 4, START_S)) == sorted([silent, other]), "its late answers are not taken"
