"""Joining: from a token to a key, a certificate and an address, kept in the device's folder.

device folder: device.key  device.pem  authority.pem  link.json  journal.sqlite   (the key never leaves it)
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from phloem.errors import ConfigError, ProtocolError, RunError
from phloem.link.stream import PROTOCOL, SERVER_NAME, parse
from phloem.link.token import frame, frame_length, read_token
from phloem.proto import link_pb2

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

PATIENCE_S = 15.0


@dataclass(frozen=True)
class Membership:
    """How a device reaches its server and proves who it is; keys and certificates are PEM."""

    host: str
    port: int
    key: bytes
    certificate: bytes
    authority: bytes
    renew_at: float = float("inf")
    """When to ask for the next certificate, in seconds since 1970."""
    expires_at: float = float("inf")

    @property
    def target(self) -> str:
        """The link's address as gRPC wants it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def is_member(folder: Path) -> bool:
    """Tell whether this device has joined a server."""
    return (folder / "link.json").exists()


def membership(folder: Path) -> Membership:
    """Return what an earlier `enrol` left in the folder.

    Raises:
        ConfigError: this device has not joined, or the folder is damaged.
    """
    try:
        place = json.loads((folder / "link.json").read_text())
        names = ("device.key", "device.pem", "authority.pem")
        key, certificate, authority = ((folder / name).read_bytes() for name in names)
        # Dates are kept beside the certificate: to read one takes 10 MB of memory.
        dates = (place["renew_at"], place["expires_at"]) if "renew_at" in place else life_of(certificate, key)
        host, port, (renew_at, expires_at) = str(place["host"]), int(place["port"]), map(float, dates)
        return Membership(host, port, key, certificate, authority, renew_at, expires_at)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"The device's folder {str(folder)!r} should hold what joining left there. Found: {error!r}. "
            "Join with a token that `phloem serve` prints."
        ) from None


def enrol(text: str, folder: Path, name: str) -> Membership:
    """Join with a token; the same one again in the same folder, as at every start, asks nobody.

    Raises:
        ConfigError: the token, the address, the authority or this device's clock is not right.
        RunError: the server cannot be reached now.
    """
    token = read_token(text)
    if _joined_with(folder) == _mark(token):
        return membership(folder)
    authority = _ask(token, link_pb2.EnrolRequest(), None).authority
    if sha256(authority).digest() != token.authority:
        raise ConfigError(
            f"The server at {token.host}:{token.port} should have the authority that the token names. It has "
            "another: somebody else answers there, or the server lost its state folder. Ask for a new token."
        )
    authority_pem = ssl.DER_cert_to_PEM_cert(authority).encode()
    request = link_pb2.EnrolRequest(
        protocol=PROTOCOL,
        secret=token.secret,
        request=request_of(folder),
        name=name,
        clock=time.time(),
    )
    reply = _ask(token, request, authority_pem.decode())
    if reply.refusal:
        kind = RunError if reply.later else ConfigError
        raise kind(f"The server did not let this device in. {reply.refusal}")
    key, certificate = (folder / "device.key").read_bytes(), ssl.DER_cert_to_PEM_cert(reply.certificate)
    dates = life_of(certificate.encode(), key)
    found = Membership(token.host, reply.port, key, certificate.encode(), authority_pem, *dates)
    _write(folder / "authority.pem", found.authority)
    keep(folder, found, {"node": reply.node, "token": _mark(token)})
    return found


def keep(folder: Path, member: Membership, more: Mapping[str, object] | None = None) -> None:
    """Write a certificate and where it leads; `more` is what else there is to know, else what was known.

    Old and new certificate are both good, so it does not matter between which two files the power goes.
    """
    known = more if more is not None else json.loads((folder / "link.json").read_text())
    place = {
        **known,
        "host": member.host,
        "port": member.port,
        "renew_at": member.renew_at,
        "expires_at": member.expires_at,
    }
    _write(folder / "device.pem", member.certificate)
    _write(folder / "link.json", json.dumps(place).encode())


def request_of(folder: Path) -> bytes:
    """Return a certificate request, PKCS #10, DER, for this device's key, made at the first call."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "d")])
    signed = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(_key(folder), hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.DER)


def life_of(certificate: bytes, key: bytes) -> tuple[float, float]:
    """Return when a certificate is to be renewed, and when it expires; PEM.

    Raises:
        ValueError: it is none, or not for this key.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    found = x509.load_pem_x509_certificate(certificate)
    if found.public_key() != load_pem_private_key(key, None).public_key():
        raise ValueError("a certificate for another key than this device's")
    first, last = found.not_valid_before_utc.timestamp(), found.not_valid_after_utc.timestamp()
    return last - (last - first) / 3, last


def _mark(token: link_pb2.JoinToken) -> str:
    return sha256(token.secret).hexdigest()


def _joined_with(folder: Path) -> str:
    """Return the mark of the token this device joined with, or nothing."""
    try:
        return str(json.loads((folder / "link.json").read_text())["token"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _ask(
    token: link_pb2.JoinToken, request: link_pb2.EnrolRequest, trusted: str | None
) -> link_pb2.EnrolReply:
    """Exchange one frame each way; without `trusted`, with whoever answers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if trusted is None:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    else:
        context.load_verify_locations(cadata=trusted)
    where = f"{token.host}:{token.port}"
    try:
        with (
            socket.create_connection((token.host, token.port), PATIENCE_S) as plain,
            context.wrap_socket(plain, server_hostname=SERVER_NAME) as secure,
        ):
            secure.sendall(frame(request.SerializeToString()))
            reply = link_pb2.EnrolReply()
            parse(reply, _receive(secure, frame_length(_receive(secure, 4))))
            return reply
    except ssl.SSLCertVerificationError as error:
        raise ConfigError(_certificate_text(where, error.verify_message)) from None
    except (ssl.SSLEOFError, ConnectionResetError):
        raise RunError(
            f"The server at {where} should talk to this device. It closed the connection: it does that to an "
            "address with too many at once. Try again in a while."
        ) from None
    except (ssl.SSLError, ProtocolError) as error:
        raise ConfigError(
            f"A phloem server should answer at {where}. Found somebody who speaks otherwise: {error}. "
            "Check the address, and that nothing between rewrites TLS."
        ) from None
    except OSError as error:
        raise RunError(
            f"A phloem server should answer at {where}. Found: {error}. Check that `phloem serve` runs, that "
            "the address in the token is reachable from here, and that no firewall is between."
        ) from None


def _certificate_text(where: str, message: str) -> str:
    """Say what is wrong with a certificate; the usual reason is the clock of a device without a battery."""
    clock = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
    return (
        f"The server at {where} should have a certificate of the authority this device trusts. Found: "
        f"{message}. If this device's clock is wrong (it says {clock} UTC), set it; else another server "
        "answers there."
    )


def _receive(secure: ssl.SSLSocket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        piece = secure.recv(size - len(found))
        if not piece:
            raise ProtocolError(f"{size} bytes should follow. Found {len(found)}, then the end")
        found += piece
    return found


def _key(folder: Path) -> EllipticCurvePrivateKey:
    """Return the device's key; made at the first call, so that a second try is the same device."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    path = folder / "device.key"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            _write(path, pem)
        key = serialization.load_pem_private_key(path.read_bytes(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError(f"a key of another kind in {path.name}")
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            f"The device's folder {str(folder)!r} should be one that can be written. Found: {error}. "
            "Name another with --state."
        ) from None
    return key


def _write(path: Path, content: bytes) -> None:
    """Replace a file whole; only its owner may read it."""
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
