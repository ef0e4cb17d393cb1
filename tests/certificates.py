"""A certificate authority for tests, and the contexts of those who trust it; and of one whom nobody trusts."""

import ssl
from collections.abc import Sequence
from functools import cache

import trustme


@cache
def authority(name: str) -> trustme.CA:
    """One for each name; "ours" is the one that clients trust."""
    return trustme.CA(organization_name=f"utcp tests, {name}")


@cache
def certificate(*identities: str, issuer: str = "ours") -> trustme.LeafCert:
    return authority(issuer).issue_cert(*identities)


def server_context(
    *identities: str, issuer: str = "ours", alpn: Sequence[str] = (), client_issuer: str | None = None
) -> ssl.SSLContext:
    """For a server that is `identities` (none: localhost and 127.0.0.1). With `client_issuer` clients must have a
    certificate of that authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate(*(identities or ("localhost", "127.0.0.1")), issuer=issuer).configure_cert(context)
    if alpn:
        context.set_alpn_protocols(alpn)
    if client_issuer is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        authority(client_issuer).configure_trust(context)
    return context


def client_context(*, identity: str | None = None, alpn: Sequence[str] = ()) -> ssl.SSLContext:
    """For a client that trusts our authority; with a certificate of its own if it is `identity`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority("ours").configure_trust(context)
    if identity is not None:
        certificate(identity).configure_cert(context)
    if alpn:
        context.set_alpn_protocols(alpn)
    return context
