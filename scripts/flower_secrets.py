"""Make what the services of docker-compose.yml trust each other by: certificates, node keys, a shared secret.

    python scripts/flower_secrets.py [FOLDER]        (secrets/)

A file that is there already stays: nodes keep the identity they are registered with. The authority's own key
is in the folder too (`authority.key`); no service gets it: keep it elsewhere once the others are made.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from phloem.errors import ConfigError
from phloem.server.link.authority import key_pem, open_authority, write_secret

SERVED = ("superlink", "supernode-1", "supernode-2")
"""Services that others connect to; each has a certificate for its own name and for loopback."""
NODES = ("supernode-1", "supernode-2")
LOOPBACK = ("127.0.0.1", "::1")
SECRET_BYTES = 32


def make_secrets(folder: Path, served: Sequence[str] = SERVED, nodes: Sequence[str] = NODES) -> None:
    """Write what is missing: `authority.pem`, `superexec`, and four files for each name.

    `NAME.node` is the key by which Flower knows a SuperNode: ECDSA on P-384 in OpenSSH's format, as it asks.

    Raises:
        ConfigError: the folder cannot be made or written.
    """
    try:
        authority = open_authority(folder)
        for name in served:
            if not (folder / f"{name}.pem").exists():
                key = ec.generate_private_key(ec.SECP256R1())
                write_secret(folder / f"{name}.key", key_pem(key))
                certificate = authority.issue_server(key, hosts=(name, "localhost"), addresses=LOOPBACK)
                (folder / f"{name}.pem").write_bytes(certificate)
        for name in nodes:
            if not (folder / f"{name}.node.pub").exists():
                _make_node_key(folder / f"{name}.node")
        if not (folder / "superexec").exists():
            write_secret(folder / "superexec", os.urandom(SECRET_BYTES).hex().encode())
    except OSError as error:
        raise ConfigError(
            f"The folder {str(folder)!r} should be one to keep secrets in. Found: {error.strerror}. "
            "Name another."
        ) from error


def _make_node_key(path: Path) -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    plain = serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, plain)
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    write_secret(path, private)
    path.with_suffix(".node.pub").write_bytes(public + b"\n")


def main(arguments: list[str]) -> int:
    """Make the secrets and say where."""
    folder = Path(arguments[0] if arguments else "secrets")
    make_secrets(folder)
    print(f"{folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except ConfigError as error:
        print(f"scripts/flower_secrets.py: {error}", file=sys.stderr)
        sys.exit(2)
