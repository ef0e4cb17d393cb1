"""A pre-shared key that both ends of a tunnel prove to each other that they have.

Python's ssl has TLS-PSK from 3.13 on only, so the key is made into something that TLS 1.3 has everywhere. HKDF (RFC
5869, SHA-256) derives an Ed25519 private key from it, and with that a certificate is made which signs itself. Nothing
in it is random or depends on the day, and Ed25519 signatures are deterministic (RFC 8032), so both ends make the same
one octet for octet. Each presents it, demands one of the peer, and trusts this one alone; no host name is checked.

Why this is sound:

* Who has not the key has not the private key: 256 random bits cannot be guessed, and HKDF and Ed25519 are one way. What
  TLS shows the peer, the certificate and a signature, gives nothing away that could be searched for a better prize.
  That is why short keys and passphrases are refused: a certificate can be tested against guesses, at leisure.
* In TLS 1.3 each end signs the transcript of the very handshake (RFC 8446 4.4.3), for its own role. So both prove that
  they have the key, now, and one's proof cannot be sent back to it as the other's.
* Sessions are encrypted under ephemeral Diffie-Hellman secrets, not under the key: who learns the key later cannot read
  what was recorded before (forward secrecy). There are no session tickets.
* The private key that is derived is never in a file: OpenSSL, which takes keys from files only, reads it from a pipe.
* Whoever has the key can play either end: keep it between two parties who trust each other, one key for each pair.

A wrong key: the client's handshake fails with "certificate verify failed", the server's with the alert that this sends.
Both log one line, and the connection of the user is reset.
"""

from __future__ import annotations

import os
import secrets
import ssl
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

from utcp.extras import not_installed
from utcp.tunnel.credentials import CredentialError

KEY_OCTETS: Final = 32
"""The least that a key must have: 256 bits."""

_INFO: Final = b"utcp tunnel: Ed25519 key of a pre-shared key, version 1"


def new_key() -> str:
    """A random key of 256 bits, as the text of a key file: 64 hexadecimal digits and a newline."""
    return secrets.token_hex(KEY_OCTETS) + "\n"


def write_key(path: Path) -> None:
    """Make a key file that nobody but its owner can read. Raises CredentialError; what exists is not overwritten."""
    try:
        with open(path, "x", encoding="ascii", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(new_key())
    except FileExistsError as error:
        raise CredentialError(f"{path} exists already: keys are not overwritten") from error
    except OSError as error:
        raise CredentialError(f"cannot write the key file {path}: {error.strerror}") from error


def read_key(path: Path) -> bytes:
    """The key in a file. Raises CredentialError when there is none, or one that is too short."""
    try:
        text = path.read_text(encoding="ascii").strip()
        key = bytes.fromhex(text)
    except OSError as error:
        raise CredentialError(f"cannot read the key file {path}: {error.strerror}") from error
    except ValueError as error:
        raise CredentialError(
            f"{path} has no key: it must be hexadecimal digits, as `utcp tunnel key` writes"
        ) from error
    if len(key) < KEY_OCTETS:
        raise CredentialError(
            f"the key in {path} is too short: {len(key) * 8} bits, not {KEY_OCTETS * 8} (`utcp tunnel key` makes one)"
        )
    return key


def readable_by_others(path: Path) -> bool:
    """Whether people other than its owner may read a key file."""
    return bool(path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))


def key_context(key: bytes, *, server_side: bool) -> ssl.SSLContext:
    """TLS 1.3 among those who have `key`. Raises CredentialError when the package `cryptography` is missing, and where
    this system has no `/dev/fd`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    if server_side:
        context.num_tickets = 0
    certificate, private_key = _identity(key)
    context.load_verify_locations(cadata=certificate.decode())
    # OpenSSL reads each name once, so that pipes will do. One name for both would be read twice.
    with _readable(certificate) as certificate_name, _readable(private_key) as private_key_name:
        try:
            context.load_cert_chain(certificate_name, private_key_name)
        except FileNotFoundError as error:
            raise CredentialError(
                "a key file needs /dev/fd, which this system does not have (/proc or fdescfs is not mounted):"
                " use certificates"
            ) from error
    return context


@contextmanager
def _readable(octets: bytes) -> Iterator[str]:
    """A name under which this process can read `octets` once. They are only in memory, and must fit into a pipe: 4,096
    octets or less."""
    reader, writer = os.pipe()
    try:
        with os.fdopen(writer, "wb") as file:
            file.write(octets)
        yield f"/dev/fd/{reader}"
    finally:
        os.close(reader)


def _identity(key: bytes) -> tuple[bytes, bytes]:
    """The certificate and the private key that belong to `key`, in PEM."""
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF
        from cryptography.x509.oid import NameOID
    except ImportError as error:
        raise CredentialError(f"for a key file: {not_installed('cryptography', 'tunnel')}") from error
    seed = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=_INFO).derive(key)
    private_key = Ed25519PrivateKey.from_private_bytes(seed)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "utcp tunnel")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private_key.public_key())
        .serial_number(1)
        # A small device without a battery begins in 1970. (The library wants UTC without saying so.)
        .not_valid_before(datetime(1970, 1, 1))
        .not_valid_after(datetime(9999, 12, 31, 23, 59, 59))  # never (RFC 5280 4.1.2.5)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(private_key, None)
    )
    return (
        certificate.public_bytes(serialization.Encoding.PEM),
        private_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    )
