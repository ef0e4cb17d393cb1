"""TLS by certificates, for either end of a tunnel."""

from __future__ import annotations

import ssl
from pathlib import Path


class CredentialError(ValueError):
    """A key, certificate or authority that cannot be used; the text says which and why."""


def server_context(certificate: Path, private_key: Path | None, authority: Path | None) -> ssl.SSLContext:
    """TLS 1.3 for the end that is connected to. `private_key` None: it is in the certificate's file.

    With `authority` only those are let in who have a certificate that it has signed. Raises CredentialError.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0
    _load_certificate(context, certificate, private_key)
    if authority is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        _load_authority(context, authority)
    return context


def client_context(authority: Path | None, certificate: Path | None, private_key: Path | None) -> ssl.SSLContext:
    """TLS 1.3 for the end that connects. It checks the server's certificate, and the name in it, by `authority`, or by
    the authorities that the system trusts. `certificate` is its own, for servers that ask. Raises CredentialError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    if authority is None:
        context.load_default_certs()
    else:
        _load_authority(context, authority)
    if certificate is not None:
        _load_certificate(context, certificate, private_key)
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
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise CredentialError(f"the private key {private_key or path} is not that of {path}") from error
        raise CredentialError(f"no certificate with its private key, in PEM, in {_files(path, private_key)}") from error
    except OSError as error:
        raise CredentialError(f"cannot read {_files(path, private_key)}: {error.strerror}") from error


def _files(certificate: Path, private_key: Path | None) -> str:
    return str(certificate) if private_key is None else f"{certificate} and {private_key}"


def _refuse_password() -> str:
    raise CredentialError("the private key is encrypted: a tunnel has nobody to ask for the password")
