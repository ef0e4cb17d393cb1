"""TLS contexts for both ends of a tunnel, from certificates or from a pre-shared key.

Both ends prove to each other that they have the key. Python's ssl supports TLS-PSK from 3.13 on only, so the key is
turned into credentials that every TLS 1.3 supports. HKDF (RFC 5869, SHA-256) derives an Ed25519 private key from it,
which signs its own certificate. The certificate contains nothing random and no current date, and Ed25519 signatures are
deterministic (RFC 8032), so both ends create the same octets. Each end presents the certificate, requires one from the
peer, and trusts only this one. Host names are not checked.

Why a key is secure:

* Without the key, an attacker does not have the private key, because 256 random bits cannot be guessed, and HKDF and
  Ed25519 are one-way. The certificate and the signature, which TLS sends to the peer, do not make a search for the key
  easier. However, guesses can be tested against the certificate offline, so short keys and passphrases are refused.
* In TLS 1.3 each end signs the transcript of the current handshake (RFC 8446 4.4.3) for its own role. Thus both prove
  that they have the key now, and a proof cannot be reflected to its sender.
* Sessions are encrypted under ephemeral Diffie-Hellman secrets, not under the key, so that an attacker with the key
  cannot decrypt earlier recordings (forward secrecy). There are no session tickets.
* The derived private key is never in a file. OpenSSL, which loads keys from files only, reads it from a pipe.
* A holder of the key can act as either end, so use one key for each pair of parties that trust each other.

With a wrong key, the client's handshake fails with "certificate verify failed", and the server's with the resulting
alert. Both log one line, and the user's connection is reset.
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
from utcp.trace.output import removed_on_error

KEY_OCTETS: Final = 32
"""Minimum size of a key, octets (256 bits)."""

_INFO: Final = b"utcp tunnel: Ed25519 key of a pre-shared key, version 1"


class CredentialError(OSError):
    """A key, certificate or authority that cannot be used. The text names the file and the reason."""


def server_context(certificate: Path, private_key: Path | None, authority: Path | None) -> ssl.SSLContext:
    """Return a TLS 1.3 context for the accepting end. Raises CredentialError.

    Args:
        certificate: PEM file of the certificate.
        private_key: PEM file of the private key; None: it is in the certificate's file.
        authority: PEM file of the authority that must have signed the peers' certificates; None: peers need no
            certificate.
    """
    context = _tls13(server_side=True)
    _load_certificate(context, certificate, private_key)
    if authority is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        _load_authority(context, authority)
    return context


def client_context(authority: Path | None, certificate: Path | None, private_key: Path | None) -> ssl.SSLContext:
    """Return a TLS 1.3 context for the connecting end, which verifies the server's certificate and name.

    Raises CredentialError.

    Args:
        authority: PEM file of the authority; None: the system's authorities.
        certificate: PEM file of the client's own certificate, for servers that request one.
        private_key: PEM file of its private key; None: it is in the certificate's file.
    """
    context = _tls13(server_side=False)
    if authority is None:
        context.load_default_certs()
    else:
        _load_authority(context, authority)
    if certificate is not None:
        _load_certificate(context, certificate, private_key)
    return context


def _tls13(*, server_side: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    if server_side:
        context.num_tickets = 0
    return context


def _load_authority(context: ssl.SSLContext, path: Path) -> None:
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as error:
        raise CredentialError(f"{path} has no certificate of an authority in PEM") from error
    except OSError as error:
        raise CredentialError(f"cannot read {path}: {error.strerror}") from error


def _load_certificate(context: ssl.SSLContext, path: Path, private_key: Path | None) -> None:
    try:
        context.load_cert_chain(path, private_key, password=_refuse_password)
    except CredentialError:
        raise
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise CredentialError(f"the private key {private_key or path} is not that of {path}") from error
        raise CredentialError(f"no certificate with its private key, in PEM, in {_files(path, private_key)}") from error
    except OSError as error:
        raise CredentialError(f"cannot read {_files(path, private_key)}: {error.strerror}") from error


def _files(certificate: Path, private_key: Path | None) -> str:
    return str(certificate) if private_key is None else f"{certificate} and {private_key}"


def _refuse_password() -> str:
    raise CredentialError("the private key is encrypted: remove its password")


def new_key() -> str:
    """Return a random key of 256 bits as the text of a key file: 64 hexadecimal digits and a newline."""
    return secrets.token_hex(KEY_OCTETS) + "\n"


def write_key(path: Path) -> None:
    """Create a key file that only its owner can read.

    Raises CredentialError, and then leaves no file behind. Existing files are not overwritten.
    """
    try:
        with (
            open(path, "x", encoding="ascii", opener=lambda name, flags: os.open(name, flags, 0o600)) as file,
            removed_on_error(path),
        ):
            file.write(new_key())
            file.flush()
    except FileExistsError as error:
        raise CredentialError(f"{path} already exists: name another file") from error
    except OSError as error:
        raise CredentialError(f"cannot write the key file {path}: {error.strerror}") from error


def read_key(path: Path) -> bytes:
    """Return the key in a file. Raises CredentialError if there is none or it is too short."""
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
    """Return whether users other than its owner may read a key file."""
    return bool(path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))


def key_context(key: bytes, *, server_side: bool) -> ssl.SSLContext:
    """Return a TLS 1.3 context for holders of `key`. Raises CredentialError without the package `cryptography` or
    without `/dev/fd`."""
    context = _tls13(server_side=server_side)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    certificate, private_key = _identity(key)
    context.load_verify_locations(cadata=certificate.decode())
    # OpenSSL reads each name once, so pipes work. A common name for both would be read twice.
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
    """Yield a name under which this process can read `octets` once. They stay in memory, and must fit into a pipe (at
    most 4,096 octets)."""
    reader, writer = os.pipe()
    try:
        with os.fdopen(writer, "wb") as file:
            file.write(octets)
        yield f"/dev/fd/{reader}"
    finally:
        os.close(reader)


def _identity(key: bytes) -> tuple[bytes, bytes]:
    """Return the certificate and the private key of `key`, in PEM."""
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
        # A small device without a battery-backed clock starts in 1970. (The library expects naive UTC.)
        .not_valid_before(datetime(1970, 1, 1))
        .not_valid_after(datetime(9999, 12, 31, 23, 59, 59))  # no expiry (RFC 5280 4.1.2.5)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(private_key, None)
    )
    return (
        certificate.public_bytes(serialization.Encoding.PEM),
        private_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    )
