"""Who has no business on the link is told why and dropped, and everybody else is served meanwhile."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from phloem.client.link.enrol import Membership, enrol
from phloem.config import LinkConfig
from phloem.errors import ConfigError, RunError
from phloem.link.stream import METHOD, PROTOCOL, SERVER_NAME
from phloem.link.token import read_token, write_token
from phloem.proto import link_pb2
from phloem.server.link.authority import key_pem, open_authority
from tests.link.rig import HERE, Link, counting_app, link, until

CONFIG = LinkConfig(handshake_s=0.5, most_bytes=65_536)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Link]:
    """A link with one honest device, which is still served when the test is over."""
    with link(tmp_path, CONFIG, clients=4) as made:
        made.start(0, counting_app())
        made.wait_for(1)
        yield made
        [reply] = made.ask(7)
        assert reply.content.config_records["said"]["number"] == 7


def converse(made: Link, member: Membership, *ups: bytes) -> tuple[list[link_pb2.Down], grpc.StatusCode, str]:
    """Say something to the server as a peer that may be anybody; return all it says, and how it ends."""

    async def talk() -> tuple[list[link_pb2.Down], grpc.StatusCode, str]:
        credentials = grpc.ssl_channel_credentials(member.authority, member.key, member.certificate)
        options = [("grpc.ssl_target_name_override", SERVER_NAME), ("grpc.enable_retries", 0)]
        async with grpc.aio.secure_channel(f"{HERE}:{made.port}", credentials, options=options) as channel:
            call: Any = channel.stream_stream(METHOD)()
            downs = []
            try:
                for up in ups:
                    await call.write(up)
                while (raw := await asyncio.wait_for(call.read(), 10)) is not grpc.aio.EOF:
                    downs.append(link_pb2.Down.FromString(raw))
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                pass
            return downs, await call.code(), await call.details()

    return made.service.call(talk())


def hello(**fields: Any) -> bytes:
    made = link_pb2.Hello(protocol=PROTOCOL, epoch=b"12345678", clock=time.time())
    for name, value in fields.items():
        setattr(made, name, value)
    return link_pb2.Up(hello=made).SerializeToString()


def answer(number: int, head: bytes = b"") -> bytes:
    return link_pb2.Up(answer=link_pb2.Answer(id=number, head=head)).SerializeToString()


def test_a_token_is_good_for_one_device(served: Link, tmp_path: Path) -> None:
    """The same device may try again, for the answer may have been lost; another may not."""
    token = served.token(1)
    first = enrol(token, tmp_path / "one", "one")
    assert enrol(token, tmp_path / "one", "one") == first
    (tmp_path / "one" / "link.json").unlink()
    assert enrol(token, tmp_path / "one", "one") == first
    with pytest.raises(ConfigError, match="good for one device"):
        enrol(token, tmp_path / "two", "two")


@pytest.mark.parametrize("text", ["", "phloem1.", "phloem1.é", "phloem1.CgkxMjcu", "hello"])
def test_half_a_token_is_no_token(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Copy the whole line"):
        enrol(text, tmp_path, "device")


def test_a_token_that_is_unknown_or_expired(served: Link, tmp_path: Path) -> None:
    """An old or a guessed token opens nothing."""
    token = read_token(served.token(1))
    token.secret = bytes(16)
    with pytest.raises(ConfigError, match="knows no such token"):
        enrol(write_token(token), tmp_path / "guess", "guess")
    token.secret = served.registry.make_token(2, time.time() - 1)
    with pytest.raises(ConfigError, match="expired"):
        enrol(write_token(token), tmp_path / "late", "late")


def test_another_authority_is_found_out(served: Link, tmp_path: Path) -> None:
    """Who answers at the address without the pinned authority gets neither secret nor request."""
    token = read_token(served.token(1))
    token.authority = bytes(32)
    with pytest.raises(ConfigError, match="should have the authority that the token names"):
        enrol(write_token(token), tmp_path / "device", "device")


def test_nobody_answers(tmp_path: Path) -> None:
    """A wrong address is told as one."""
    with socket.socket() as probe:
        probe.bind((HERE, 0))
        port = probe.getsockname()[1]
    token = link_pb2.JoinToken(host=HERE, port=port, authority=bytes(32), secret=bytes(16))
    with pytest.raises(RunError, match="Check that `phloem serve` runs"):
        enrol(write_token(token), tmp_path / "device", "device")


def test_a_certificate_of_another_authority(served: Link, tmp_path: Path) -> None:
    """Mutual TLS: a key the authority did not sign does not get as far as a first word."""
    other = open_authority(tmp_path / "other")
    real = served.member(1)
    forged = Membership(HERE, served.port, key_pem(other.key), other.pem, real.authority)
    downs, code, _ = converse(served, forged, hello())
    assert (downs, code) == ([], grpc.StatusCode.UNAVAILABLE)


def test_a_server_of_another_authority(served: Link, tmp_path: Path) -> None:
    """A device trusts its own authority alone."""
    other, real = open_authority(tmp_path / "other"), served.member(1)
    misled = Membership(HERE, served.port, real.key, real.certificate, other.pem)
    downs, code, details = converse(served, misled, hello())
    assert (downs, code) == ([], grpc.StatusCode.UNAVAILABLE)
    assert "CERTIFICATE_VERIFY_FAILED" in details


def test_an_expelled_key(served: Link) -> None:
    """A certificate alone is not enough: the registry decides."""
    member = served.member(1)
    served.registry.expel(1)
    downs, code, details = converse(served, member, hello())
    assert (downs, code) == ([], grpc.StatusCode.PERMISSION_DENIED), details
    assert "not registered" in details


@pytest.mark.parametrize(
    ("first", "text"),
    [
        (hello(clock=time.time() - 3600), "set it"),
        (hello(clock=float("nan")), "set it"),
        (hello(protocol=9), "install the same version"),
        (answer(1), "begin with a Hello"),
        (b"\xff" * 9, "expected"),
        (b"", "begin with a Hello"),
    ],
    ids=["late clock", "no clock", "protocol", "answer", "noise", "nothing"],
)
def test_a_first_word_that_is_wrong(served: Link, first: bytes, text: str) -> None:
    """Each wrong beginning has its own text."""
    downs, code, details = converse(served, served.member(1), first)
    assert (downs, code) == ([], grpc.StatusCode.FAILED_PRECONDITION)
    assert text in details


def bomb() -> bytes:
    deflate = zlib.compressobj(9, zlib.DEFLATED, -12)
    return deflate.compress(bytes(60_000_000)) + deflate.flush(zlib.Z_SYNC_FLUSH)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: answer(99), "to a task that was sent"),
        (lambda: answer(99, b"\xfe\xff"), "continue its stream"),
        (lambda: answer(99, bomb()), "at most 1048576 bytes"),
        (hello, "should send answers"),
        (lambda: b"\xff" * 9, "expected"),
        (lambda: answer(99, bytes(70_000)), "larger than max"),
    ],
    ids=["replayed", "torn", "bomb", "hello again", "noise", "oversized"],
)
def test_an_answer_that_is_wrong(served: Link, make: Callable[[], bytes], text: str) -> None:
    """A peer that was let in and goes on wrongly ends its own stream only."""
    downs, code, details = converse(served, served.member(1), hello(), make())
    assert [down.WhichOneof("kind") for down in downs] in ([], ["welcome"])
    assert code in (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert text in details


@pytest.mark.parametrize("part", ["2a8648ce3d0201", "2a8648ce3d030107"], ids=["kind of key", "curve"])
def test_a_request_for_a_key_nobody_knows(served: Link, part: str) -> None:
    """Strangers reach this port: whatever the request names, they are told why not."""
    key, known = ec.generate_private_key(ec.SECP256R1()), bytes.fromhex(part)
    asked = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    request = asked.public_bytes(serialization.Encoding.DER).replace(known, known[:-1] + b"\x63")
    reply = served.enrolment.answer(
        link_pb2.EnrolRequest(protocol=PROTOCOL, request=request, clock=time.time())
    )
    assert "certificate request was expected" in reply.refusal


def test_a_late_clock_cannot_join(served: Link, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The usual device without a battery: told to set its clock, and free to try the token again."""
    token, now = served.token(1), time.time
    with monkeypatch.context() as patch:
        patch.setattr("phloem.client.link.enrol.time.time", lambda: now() - 86_400 * 365)
        patch.setattr("phloem.server.link.session.time.time", now)
        served.registry.note_epoch(1, b"")
        request = link_pb2.EnrolRequest(protocol=PROTOCOL, request=b"x", clock=now() - 86_400 * 365)
        reply = served.enrolment.answer(request)
    assert "set it" in reply.refusal
    assert enrol(token, tmp_path / "device", "device").host == HERE


def test_peers_that_say_nothing_are_dropped(served: Link) -> None:
    """Slow loris: connections that never speak cost a place for `handshake_s`, and nobody else anything."""
    silent = [socket.create_connection((HERE, port)) for port in (served.port, served.enrolment_port) * 8]
    context = ssl.create_default_context(cadata=served.authority.pem.decode())
    plain = socket.create_connection((HERE, served.enrolment_port))
    silent.append(context.wrap_socket(plain, server_hostname=SERVER_NAME))
    silent[-1].sendall(b"\x00\x00")  # half a header
    assert len(served.ask(1)) == 1

    def dropped(peer: socket.socket) -> bool:
        peer.settimeout(10)
        try:
            while peer.recv(4096):
                pass
        except ConnectionError:
            pass
        return True

    assert all(map(dropped, silent))
    for peer in silent:
        peer.close()


def test_a_device_that_says_no_hello_is_dropped(served: Link) -> None:
    """A stream without a first word ends by itself, with a text."""
    _, code, details = converse(served, served.member(1))
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED  # an honest one on a bad network tries again
    assert "within 0.5 s" in details
    until(lambda: len(served.grid.get_node_ids()) == 1)
