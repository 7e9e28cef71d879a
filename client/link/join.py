"""One device process: a journal, an app, a connection, until the run is over or somebody stops it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from phloem.client.journal import Journal
from phloem.client.link.enrol import Membership
from phloem.client.link.node import Node
from phloem.client.link.renew import Renewal
from phloem.client.link.session import Device, Patience
from phloem.references import load_reference

JOURNAL = "journal.sqlite"


def attend(
    member: Membership,
    folder: Path,
    app: str,
    node_config: Mapping[str, Any],
    *,
    patience: Patience,
    say: Callable[[str], None],
) -> None:
    """Serve as a device with the app that `"module:name"` names.

    Raises:
        ConfigError: there is no such app, or another process has the folder.
        RunError: the server will not serve this device as it is.
    """
    with Journal(folder / JOURNAL) as journal:
        node = Node(load_reference(app), journal, node_config)
        asyncio.run(Device(node, member, patience, say, renewal=Renewal(folder)).attend())
