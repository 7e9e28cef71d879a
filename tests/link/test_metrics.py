"""What a link tells Prometheus is what happened on it."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path

import pytest

from phloem.server.link.metrics import Metrics
from phloem.server.link.service import Address
from phloem.server.strategy import RoundReport
from tests.link.rig import HERE, counting_app, link


def get(port: int, path: str) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://{HERE}:{port}{path}", timeout=10) as answer:
        return str(answer.read().decode())


def test_the_page_counts_what_happened(tmp_path: Path) -> None:
    with link(tmp_path, clients=1) as made:
        metrics = Metrics(made.service)
        port = metrics.listen(Address(HERE, 0))
        assert get(port, "/healthz") == "ok\n"
        made.start(0, counting_app())
        made.wait_for(1)
        made.ask(1)
        metrics.hear(RoundReport(3, accepted=2, refused=1, accuracy=0.5))
        metrics.hear(RoundReport(4, accepted=1, refused=0, accuracy=None))
        lines = dict(line.split(" ") for line in get(port, "/metrics").splitlines() if line[0] != "#")
        with pytest.raises(urllib.error.HTTPError):
            get(port, "/other")
    assert lines["phloem_devices_connected"] == "1"
    assert lines["phloem_enrolled_total"] == "1"
    assert float(lines["phloem_wire_up_bytes_total"]) > 1000
    assert (lines["phloem_round"], lines["phloem_accuracy"]) == ("4", "0.5")
    assert (lines["phloem_replies_accepted_total"], lines["phloem_replies_rejected_total"]) == ("3", "1")
