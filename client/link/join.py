"""One device process: a journal, an app, a connection, until the run is over or somebody stops it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from phloem.client.journal import Journal
from phloem.client.link.enrol import Membership
from phloem.client.link.memory import shed, spare_scipy
from phloem.client.link.metrics import Figures
from phloem.client.link.node import Node
from phloem.client.link.renew import Renewal
from phloem.client.link.session import Device, Patience
from phloem.link.pages import Address, open_pages, port_of
from phloem.logs import note
from phloem.references import load_reference

JOURNAL = "journal.sqlite"


def attend(
    member: Membership,
    folder: Path,
    app: str,
    node_config: Mapping[str, Any],
    *,
    patience: Patience,
    metrics: Address | None = None,
) -> None:
    """Serve as a device with the app that `"module:name"` names, and tell Prometheus if there is an address.

    Raises:
        ConfigError: there is no such app, another process has the folder, or the address cannot be had.
        RunError: the server will not serve this device as it is.
    """
    with Journal(folder / JOURNAL) as journal:
        found, figures = load_reference(app), Figures(renew_at=member.renew_at)
        shed()  # before the next library's code comes, or both would be held at once
        spare_scipy()
        shed()
        node = Node(found if metrics is None else figures.watch(found), journal, node_config)
        device = Device(node, member, patience, renewal=Renewal(folder), figures=figures)
        asyncio.run(_attend(device, metrics))


async def _attend(device: Device, metrics: Address | None) -> None:
    if metrics is None:
        await device.attend()
        return
    async with await open_pages(metrics, device.figures.figures) as pages:
        note("metrics", f"Figures at http://{metrics.host}:{port_of(pages)}/metrics", quiet=True)
        await device.attend()
