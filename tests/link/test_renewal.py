"""A device's certificate is renewed before it ends; one that has ended is told in words."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from phloem.client.journal import Journal
from phloem.client.link.enrol import Membership, enrol, membership, request_of
from phloem.client.link.node import Node
from phloem.client.link.renew import PAUSE_S, Renewal
from phloem.client.link.session import Device
from phloem.config import LinkConfig
from phloem.errors import RunError
from phloem.proto import link_pb2
from phloem.server.link.authority import server_identity
from tests.link.rig import QUICK, Link, counting_app, link, until
from tests.link.test_refusals import converse, hello

DAY_S = 86_400.0


def attend(made: Link, member: Membership, folder: Path, renewal: Renewal | None) -> Device:
    """Run a device that may renew its certificate."""
    journal = Journal(folder / "journal.sqlite")
    device = Device(Node(counting_app(), journal), member, QUICK, renewal=renewal)

    async def run() -> None:
        with journal:
            await device.attend()

    made.running.append(asyncio.run_coroutine_threadsafe(run(), made.service.loop))
    return device


def test_a_certificate_in_its_last_third_is_renewed(tmp_path: Path) -> None:
    """The device asks on its open stream, keeps what it gets, and comes back with it; nobody does a thing."""
    with link(tmp_path, LinkConfig(certificate_days=30), clients=1) as made:
        first, folder = made.member(0), tmp_path / "device-0"
        assert first.expires_at == pytest.approx(time.time() + 30 * DAY_S, abs=60)
        assert first.renew_at == pytest.approx(first.expires_at - 31 * DAY_S / 3, abs=60)
        now = first.renew_at - 1
        renewal = Renewal(folder, clock=lambda: now)
        assert renewal.wait_s(first) == pytest.approx(1, abs=0.01)
        now = first.renew_at + 1
        device = attend(made, first, folder, renewal)
        made.wait_for(1)
        until(lambda: made.service.counts["renewed"] == 1)
        until(lambda: device.membership != first)
        kept = membership(folder)
        assert device.membership == kept
        assert (kept.key, kept.authority, kept.port) == (first.key, first.authority, first.port)
        assert kept.certificate != first.certificate
        assert renewal.wait_s(kept) >= PAUSE_S - 1
        [reply] = made.ask(1)
        assert reply.content.config_records["said"]["count"] == 1
        made.service.farewell(made.grid.get_node_ids()[0], finished=False, reason="Come again.")
        until(lambda: made.service.counts["streams"] == 2)
        made.wait_for(1)
        [reply] = made.ask(2)
        assert reply.content.config_records["said"]["count"] == 2
        token = json.loads((folder / "link.json").read_text())["token"]
        assert token  # so that the same token at the next start asks nobody, as before


def test_an_older_devices_folder_has_no_dates(tmp_path: Path) -> None:
    """What earlier versions left is read: the dates come from the certificate."""
    with link(tmp_path, clients=1) as made:
        found, path = made.member(0), tmp_path / "device-0" / "link.json"
        place = json.loads(path.read_text())
        del place["renew_at"], place["expires_at"]
        path.write_text(json.dumps(place))
        assert membership(tmp_path / "device-0") == found


def test_an_expired_certificate_is_told_in_words(tmp_path: Path) -> None:
    """TLS would only close the door: the device says what happened, and a new token brings it back."""
    with link(tmp_path, LinkConfig(certificate_days=1e-5), clients=1) as made:
        member, folder = made.member(0), tmp_path / "device-0"
        time.sleep(max(0.0, member.expires_at - time.time() + 0.01))
        attend(made, member, folder, Renewal(folder))
        with pytest.raises(RunError, match=r"expired on .* phloem join TOKEN"):
            made.running.pop().result(10)
        unaware = replace(member, expires_at=float("inf"))
        downs, code, _ = converse(made, unaware, hello())
        assert (downs, code) == ([], grpc.StatusCode.UNAVAILABLE)
        made.registry.expel(0)
        made.service.config = LinkConfig()
        again = enrol(made.token(0), folder, "device 0")
        assert again.expires_at > time.time() + 300 * DAY_S
        attend(made, again, folder, Renewal(folder))
        made.wait_for(1)


def test_a_renewal_is_for_ones_own_key(tmp_path: Path) -> None:
    """A device that was let in can neither get a certificate for another key nor ask without end."""
    with link(tmp_path, clients=2) as made:
        mine, other = made.member(0), made.member(1)
        del other

        def asking(*folders: str) -> list[bytes]:
            requests = [request_of(tmp_path / folder) for folder in folders]
            return [link_pb2.Up(renewal=link_pb2.Renewal(request=r)).SerializeToString() for r in requests]

        for ups, text in (
            (asking("stranger"), "for the key that has it"),
            (asking("device-1"), "for the key that has it"),
            (asking("device-0", "device-0"), "should be renewed once"),
            ([link_pb2.Up(renewal=link_pb2.Renewal(request=b"x")).SerializeToString()], "was expected"),
        ):
            _, code, details = converse(made, mine, hello(), *ups)
            assert code is grpc.StatusCode.FAILED_PRECONDITION
            assert text in details


def test_the_servers_own_certificate_is_new_at_every_start(tmp_path: Path) -> None:
    """Nobody has to renew it, and its key is on no disk."""
    with link(tmp_path, clients=1) as made:
        assert server_identity(made.authority) != server_identity(made.authority)
