"""The server's own certificate authority: who may speak for the server, and who for a device.

state folder: authority.key  authority.pem  registry.sqlite  (the key is readable by its owner only)
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from phloem.errors import ConfigError, ProtocolError
from phloem.link.stream import SERVER_NAME

_EARLIER, _LATER = timedelta(days=1), timedelta(days=3650)
_SIGNS_CERTIFICATES = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)


@dataclass(frozen=True)
class Authority:
    """A key that signs certificates, and the certificate by which everybody knows it."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> bytes:
        """The certificate, as gRPC wants it."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def der(self) -> bytes:
        """The certificate, as it travels."""
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pin(self) -> bytes:
        """What a join token says of it."""
        return sha256(self.der).digest()

    def issue_server(
        self,
        key: ec.EllipticCurvePrivateKey,
        hosts: Sequence[str] = (SERVER_NAME,),
        addresses: Sequence[str] = (),
    ) -> bytes:
        """Return a server certificate, PEM; the link's own name in it is the same everywhere."""
        names = [*map(x509.DNSName, hosts), *(x509.IPAddress(ip_address(each)) for each in addresses)]
        builder = self._builder(hosts[0], key.public_key())
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        # Python 3.13 verifies servers strictly: their certificate has to name its issuer's key.
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        signed = builder.add_extension(issuer, critical=False).sign(self.key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM)

    def issue_device(self, request: bytes, days: float) -> tuple[bytes, bytes]:
        """Return a device certificate, DER, good for `days`, for a PKCS #10 request, and its key's mark.

        All devices bear the same name in it, none of their choice: one called like the server could pass
        for it. It is short because TLS sends it five times when a device connects, four of them in tickets.

        Raises:
            ProtocolError: the request is malformed, not signed with its own key, or for another kind of key.
        """
        try:
            asked = x509.load_der_x509_csr(request)
            key = asked.public_key()
            if not (isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)):
                raise ProtocolError("A device's key should be on the curve P-256. Found another.")
            if not asked.is_signature_valid:
                raise ProtocolError("The request should be signed with the device's own key. It is not.")
        except (ValueError, InvalidSignature, UnsupportedAlgorithm, x509.InvalidVersion) as error:
            raise ProtocolError(f"A certificate request was expected. Found other bytes: {error}.") from None
        signed = self._builder("d", key, timedelta(days=days)).sign(self.key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.DER), fingerprint(key)

    def _builder(
        self, name: str, key: ec.EllipticCurvePublicKey, life: timedelta = _LATER
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(self.certificate.subject)
            .public_key(key)
            .serial_number(secrets.randbits(63) + 1)
            .not_valid_before(now - _EARLIER)
            .not_valid_after(min(now + life, self.certificate.not_valid_after_utc))
        )


def open_authority(folder: Path) -> Authority:
    """Return the authority kept in `folder`; make it where there is none.

    Raises:
        ConfigError: the folder cannot be made, or holds something else.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        key_file, certificate_file = folder / "authority.key", folder / "authority.pem"
        if not certificate_file.exists():
            made = _make_authority()
            write_secret(key_file, key_pem(made.key))
            part = folder / "authority.pem.part"
            part.write_bytes(made.pem)
            part.replace(certificate_file)
            return made
        key = serialization.load_pem_private_key(key_file.read_bytes(), None)
        certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError(f"a key of another kind, {type(key).__name__.strip('_')}, in authority.key")
        if key.public_key() != certificate.public_key():
            raise ValueError("an authority.key that is not the key of authority.pem")
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(
            f"The link's state folder {str(folder)!r} should hold its authority, or be one that can be "
            f"made: a key on the curve P-256 and its certificate. Found: {error}. Put the folder back from a "
            "copy, or name another with --state; devices then have to join anew."
        ) from None
    return Authority(key, certificate)


def server_identity(authority: Authority) -> tuple[bytes, bytes]:
    """Return the server's key and certificate, PEM, new at every start."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = authority.issue_server(key)
    return key_pem(key), certificate


def fingerprint(key: ec.EllipticCurvePublicKey) -> bytes:
    """Return the SHA-256 of a public key."""
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    return sha256(key.public_bytes(serialization.Encoding.DER, spki)).digest()


def fingerprint_of(certificate_pem: bytes) -> bytes:
    """Return the fingerprint of the key a certificate is for."""
    key = x509.load_pem_x509_certificate(certificate_pem).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return fingerprint(key)


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a private key as PEM."""
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)


def write_secret(path: Path, content: bytes) -> None:
    """Write a file that only its owner can ever have read."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)


def _make_authority() -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"p{os.urandom(3).hex()}")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(now + 2 * _LATER)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_SIGNS_CERTIFICATES, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(key, certificate)
