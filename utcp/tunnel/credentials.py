"""TLS contexts from certificates, for both ends of a tunnel."""

from __future__ import annotations

import ssl
from pathlib import Path


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
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0
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
