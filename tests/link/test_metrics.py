"""What server and device tell Prometheus is what happened, in the format that Prometheus reads."""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from phloem.client.app import app
from phloem.client.journal import Journal
from phloem.client.link.metrics import Figures
from phloem.client.link.node import Node
from phloem.client.link.session import Device
from phloem.client.records import read_state
from phloem.compression.update import norm
from phloem.config import Experiment
from phloem.ledger import Ledger, Message
from phloem.link.meter import _counters
from phloem.link.pages import Address, Figure, open_pages, page, port_of
from phloem.server.app import serve
from phloem.server.link.metrics import Metrics
from phloem.server.link.tally import Tally, tally
from phloem.server.strategy import RoundReport
from phloem.summary import LEDGER_NAME
from tests.link.rig import HERE, QUICK, link, until

EXPERIMENT = Experiment().with_values(
    {
        "data.clients": 1,
        "model.hidden": 4,
        "client.epochs": 1,
        "run.rounds": 2,
        "server.clients_per_round": 0,
        "run.reference": False,
    }
)
Labels = frozenset[tuple[str, str]]


def get(port: int, path: str) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://{HERE}:{port}{path}", timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        return str(answer.read().decode())


def scrape(port: int) -> dict[tuple[str, Labels], float]:
    """Read a page as Prometheus does: every family typed and told, no sample twice."""
    found: dict[tuple[str, Labels], float] = {}
    for family in text_string_to_metric_families(get(port, "/metrics")):
        assert family.type in ("counter", "gauge"), family
        assert family.documentation.endswith("."), family
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def one(name: str, **labels: str) -> tuple[str, Labels]:
    return f"phloem_{name}", frozenset(labels.items())


def test_both_ends_tell_what_happened(root: Path, tmp_path: Path) -> None:
    """A real run, scraped at both ends over HTTP, against its ledger; and the dashboard asks for no more."""
    folder, run = tmp_path / "device-0", tmp_path / "run"
    with link(tmp_path, EXPERIMENT.link, EXPERIMENT.to_flat(), clients=1) as made:
        metrics, figures = Metrics(made.service), Figures()
        port = metrics.listen(Address(HERE, 0))
        assert get(port, "/healthz") == "ok\n"
        member, journal = made.member(0), Journal(folder / "journal.sqlite")
        figures.renew_at = member.renew_at
        device = Device(Node(figures.watch(app), journal), member, QUICK, figures=figures)

        async def attend() -> None:
            with journal:
                await device.attend()

        async def open_own() -> asyncio.Server:
            return await open_pages(Address(HERE, 0), figures.figures)

        own = made.service.call(open_own())
        made.service.loop.call_soon_threadsafe(lambda: None)
        made.running.append(asyncio.run_coroutine_threadsafe(attend(), made.service.loop))
        made.wait_for(1)
        serve(
            made.grid,
            EXPERIMENT,
            run,
            on_round=lambda report: metrics.hear(report, tally(run / LEDGER_NAME, report.round)),
        )
        metrics.count(tally(run / LEDGER_NAME, 0))
        server, mine = scrape(port), scrape(port_of(own))
        residual = read_state(device.node.context.state).codec.residual
        with pytest.raises(urllib.error.HTTPError):
            get(port, "/other")
        own.close()
    with Ledger.open(run / LEDGER_NAME) as ledger:
        for way in ("up", "down"):
            totals = ledger.totals(way)
            assert server[one("payload_bytes_total", direction=way)] == totals.payload_bytes > 0
            assert server[one("wire_bytes_total", direction=way)] == totals.wire_bytes
            # The device's socket saw what the server's saw, and what has come since the last answer.
            assert 0 <= mine[one("device_wire_bytes_total", direction=way)] - (totals.wire_bytes or 0) < 300
        assert len([row for row in ledger.read(Message) if row.kind == "train"]) == 4
    assert server[one("devices_connected")] == server[one("devices_joined")] == 1
    assert server[one("devices_away")] == server[one("rounds_abandoned_total")] == 0
    assert server[one("rounds_total")] == server[one("round")] == server[one("replies_accepted_total")] == 2
    assert server[one("enrolled_total")] == 1
    assert 0 <= server[one("accuracy")] <= 1
    assert mine[one("device_connected")] == mine[one("device_connections_total")] == 1
    assert mine[one("device_tasks_total")] == 3
    assert residual
    assert mine[one("device_residual_norm")] == pytest.approx(norm(residual))
    assert mine[one("device_certificate_renewal_seconds")] == member.renew_at

    panels = json.loads((root / "docs" / "grafana-link.json").read_text("utf-8"))["panels"]
    wanted = {
        name
        for panel in panels
        for target in panel.get("targets", ())
        for name in re.findall(r"phloem_\w+", target["expr"])
    }
    told = {name for name, _ in [*server, *mine]} | {"phloem_rejections_total"}  # none here to be told
    assert wanted == told


def test_what_was_rejected_is_told_by_code(tmp_path: Path) -> None:
    """Rejections by code, rounds that changed nothing, devices that are away."""
    with link(tmp_path, clients=2) as made:
        made.member(0)
        metrics = Metrics(made.service)
        port = metrics.listen(Address(HERE, 0))
        metrics.count(Tally({"up": 0}, {}, {"greeting": 1}, 0.0))
        metrics.hear(RoundReport(3, 2, 1, 0.5), Tally({"up": 10}, {}, {"corrupt": 1}, 1.5))
        metrics.hear(RoundReport(4, 0, 3, None), Tally({"up": 10}, {}, {"corrupt": 2, "quorum": 1}, 2.5))
        until(lambda: made.service.counts["enrolled"] == 1)
        found = scrape(port)
    codes = {code: found[one("rejections_total", code=code)] for code in ("greeting", "corrupt", "quorum")}
    assert codes == {"greeting": 1, "corrupt": 3, "quorum": 1}
    assert found[one("rounds_abandoned_total")] == 1
    assert (found[one("devices_connected")], found[one("devices_away")]) == (0, 1)
    assert (found[one("round")], found[one("accuracy")]) == (4, 0.5)
    assert (found[one("round_seconds")], found[one("payload_bytes_total", direction="up")]) == (2.5, 20)
    assert (found[one("replies_accepted_total")], found[one("replies_rejected_total")]) == (2, 4)


def test_a_meter_leaves_other_files_alone(tmp_path: Path) -> None:
    """A number that a socket had may be a locked file's by now: no copy of that stays open."""
    with (tmp_path / "lock").open("w") as file:
        before = len(os.listdir("/dev/fd"))
        for _ in range(5):
            assert _counters(file.fileno(), "*:1") is None
        assert len(os.listdir("/dev/fd")) == before


def test_labels_are_escaped() -> None:
    """A code or a name with a quote in it does not break the page for everything else."""
    odd = 'a"b\\c\nd'
    [family] = text_string_to_metric_families(page([Figure.by("code", "odd", "gauge", "Odd.", {odd: 1.0})]))
    [sample] = family.samples
    assert (sample.labels, sample.value) == ({"code": odd}, 1.0)
    assert math.isfinite(sample.value)
