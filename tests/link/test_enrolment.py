"""The door of the link: nobody holds it or tries for ever, and the server's own troubles are told as such."""

from __future__ import annotations

import socket
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from phloem.client.link.enrol import enrol, membership
from phloem.config import LinkConfig
from phloem.errors import ConfigError, RunError
from phloem.link.token import read_token, write_token
from phloem.server.link.authority import open_authority
from phloem.server.link.door import MINUTE_S, MOST_ADDRESSES, Door, address_of
from phloem.server.link.registry import Registry
from tests.link.rig import HERE, Link, counting_app, link, until

ELSEWHERE = "127.0.0.2"


def guess(made: Link) -> str:
    token = read_token(made.token(1))
    token.secret = bytes(16)
    return write_token(token)


def test_an_address_may_not_guess_for_ever(tmp_path: Path) -> None:
    """After some refusals a minute the right token of that address waits as well, and is told how long."""
    with link(tmp_path, LinkConfig(refusals_a_minute=3), clients=3) as made:
        for _ in range(3):
            with pytest.raises(ConfigError, match="knows no such token"):
                enrol(guess(made), tmp_path / "guess", "guess")
        with pytest.raises(RunError, match=r"Too many attempts .* Try again in \d+ s"):
            made.member(1)
        assert made.service.counts["turned_away"] == 1
        made.enrolment.door.clock = lambda: time.monotonic() + MINUTE_S
        assert made.member(1).host == HERE


def test_one_address_cannot_hold_the_door(tmp_path: Path) -> None:
    """A hundred connections that say nothing, from one address: it is turned away, another joins at once."""
    with link(tmp_path, LinkConfig(handshake_s=60, joining_at_once=8), clients=2) as made:
        silent = [
            socket.create_connection((HERE, made.enrolment_port), source_address=(ELSEWHERE, 0))
            for _ in range(100)
        ]
        until(lambda: made.service.counts["turned_away"] == 92)
        assert made.enrolment.door.inside == {ELSEWHERE: 8}
        began = time.monotonic()
        assert made.member(0).host == HERE
        assert time.monotonic() - began < 30  # not after the minute that the silent ones may take
        for peer in silent:
            peer.close()
        until(lambda: not made.enrolment.door.inside)


def test_a_full_address_is_told_to_wait(tmp_path: Path) -> None:
    """Who is turned away before TLS is not told that the server speaks otherwise."""
    with link(tmp_path, LinkConfig(handshake_s=60, joining_at_once=1), clients=2) as made:
        with socket.create_connection((HERE, made.enrolment_port)):
            until(lambda: made.enrolment.door.inside == {HERE: 1})
            with pytest.raises(RunError, match="too many at once"):
                made.member(0)
        until(lambda: not made.enrolment.door.inside)
        assert made.member(0).host == HERE


def test_the_door_forgets() -> None:
    """What is remembered of addresses is bounded, and lasts a minute."""
    now = 0.0
    door = Door(at_once=1, refusals_a_minute=2, clock=lambda: now)
    door.refused("a")
    door.refused("a")
    assert door.wait_s("a") == MINUTE_S
    now = MINUTE_S
    assert door.wait_s("a") == 0
    for number in range(MOST_ADDRESSES + 5):
        door.refused(str(number))
    assert len(door._refused) == MOST_ADDRESSES
    assert door.enter("a")
    assert not door.enter("a")
    door.leave("a")
    assert not door.inside


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
    ],
)
def test_what_counts_as_one_address(host: str, address: str) -> None:
    """Who has a network of IPv6 has 2^64 addresses, which are one here."""
    assert address_of(host) == address


def test_a_registry_that_is_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Joining and connecting wait, and go on when the file is free; nobody sees a traceback."""
    monkeypatch.setattr("phloem.server.link.registry.BUSY_S", 0.1)
    with link(tmp_path, clients=2) as made:
        token, member = made.token(0), made.member(1)
        with closing(sqlite3.connect(tmp_path / "server" / "registry.sqlite", isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            with pytest.raises(RunError, match=r"did not let this device in.*registry.*locked"):
                enrol(token, tmp_path / "one", "one")
            with pytest.raises(RunError, match="locked"):
                made.registry.places()
            made.start(1, counting_app(), member)
            until(lambda: made.service.counts["faults"] >= 2)
            other.execute("ROLLBACK")
        made.wait_for(1)
        assert enrol(token, tmp_path / "one", "one").host == HERE
        assert not made.enrolment.door._refused  # what is the server's fault counts against nobody


def test_a_registry_without_room(tmp_path: Path) -> None:
    """A full disk: joining fails with a text, nothing is half written, and it goes on when there is room."""
    with link(tmp_path, clients=2) as made:
        token = made.token(0)
        made.token(1)
        sqlite = made.registry._sqlite
        [(pages,)] = sqlite.execute("PRAGMA page_count").fetchall()
        sqlite.execute(f"PRAGMA max_page_count = {pages}")
        with suppress(RunError):  # until the page of the places has no room for a byte
            for size in range(0, 9000, 50):
                made.registry.note_epoch(1, bytes(size))
        with pytest.raises(RunError, match=r"did not let this device in.*full"):
            enrol(token, tmp_path / "one", "n" * 500)
        assert not made.registry.places()
        sqlite.execute("PRAGMA max_page_count = 100000")
        assert enrol(token, tmp_path / "one", "one").host == HERE
        assert len(made.registry.places()) == 1


@pytest.mark.parametrize("content", [b"", b"not a database at all" * 500])
def test_a_registry_that_is_no_registry(tmp_path: Path, content: bytes) -> None:
    """Another file in its place is told when the server starts; an empty one is as good as none."""
    path = tmp_path / "registry.sqlite"
    path.write_bytes(content)
    if content:
        with pytest.raises(ConfigError, match="should be a file phloem can write"):
            Registry(path)
    else:
        Registry(path).close()


def test_a_registry_that_is_damaged_later(tmp_path: Path) -> None:
    """Pages that rot under a running server: a text that says which file, and what to do."""
    registry = Registry(tmp_path / "registry.sqlite")
    registry.make_token(0, 1.0)
    size = (tmp_path / "registry.sqlite").stat().st_size
    with (tmp_path / "registry.sqlite").open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))
    registry.close()
    registry = Registry(tmp_path / "registry.sqlite")  # its first page is whole
    with pytest.raises(RunError, match=r"registry.*malformed.*take it from a copy"):
        registry.admit(bytes(32))
    registry.close()


def other_key(folder: Path, name: str) -> None:
    pem = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / name).write_bytes(pem)


@pytest.mark.parametrize("name", ["another kind", "another's", "locked with a password", "cut short"])
def test_an_authority_with_a_wrong_key(name: str, tmp_path: Path) -> None:
    """Somebody else's files in the state folder: said when the server starts, not when a device connects."""
    made = open_authority(tmp_path)
    key = tmp_path / "authority.key"
    if name == "another kind":
        other_key(tmp_path, "authority.key")
    elif name == "another's":
        open_authority(tmp_path / "other")
        key.write_bytes((tmp_path / "other" / "authority.key").read_bytes())
    elif name == "cut short":
        key.write_bytes(key.read_bytes()[:50])
    else:
        secret = serialization.BestAvailableEncryption(b"secret")
        pkcs8 = serialization.PrivateFormat.PKCS8
        key.write_bytes(made.key.private_bytes(serialization.Encoding.PEM, pkcs8, secret))
    with pytest.raises(ConfigError, match="should hold its authority"):
        open_authority(tmp_path)


def test_a_devices_key_of_another_kind(tmp_path: Path) -> None:
    """A folder with somebody else's key is told as one."""
    with link(tmp_path, clients=1) as made:
        (tmp_path / "device").mkdir()
        other_key(tmp_path / "device", "device.key")
        with pytest.raises(ConfigError, match=r"another kind in device\.key"):
            enrol(made.token(0), tmp_path / "device", "device")
        with pytest.raises(ConfigError, match="should hold what joining left"):
            membership(tmp_path / "device")
