"""Who may use a tunnel, and what it looks like when somebody may not."""

import asyncio
import hashlib
import socket
import ssl
from dataclasses import replace
from pathlib import Path

import pytest

import utcp
from tests.certificates import authority, certificate
from tests.tunnel.ends import KEY, LOCAL, PLAIN, Tunnel, is_reset, receive, rest, reverse_tunnel, send, tunnel, with_key
from utcp.tunnel import tls
from utcp.tunnel.credentials import _identity, client_context, server_context
from utcp.tunnel.forward import Listen
from utcp.tunnel.options import EXPOSE_PORT, FORWARD_PORT, Options
from utcp.tunnel.reverse import Expose

OTHER_KEY = bytes(32)


def key_options(key: bytes, *, server_side: bool) -> Options:
    return with_key(PLAIN, key, server_side=server_side)


async def works(carried: Tunnel) -> bool:
    user, service = await carried.through()
    with user, service:
        await send(user, b"let me in")
        assert await receive(service, 9) == b"let me in"
        await send(service, b"come")
        service.shutdown(socket.SHUT_WR)
        return await rest(user) == b"come"


async def is_refused(carried: Tunnel) -> None:
    """The user is reset, and the service never hears of it."""
    with await carried.connect() as user:
        await send(user, b"let me in")
        assert await is_reset(user)
    with pytest.raises(BlockingIOError):
        carried.service._listening.accept()


async def test_a_wrong_key(caplog: pytest.LogCaptureFixture) -> None:
    near, far = key_options(OTHER_KEY, server_side=False), key_options(KEY, server_side=True)
    async with tunnel(near=replace(near, tls_hint="the two ends may have different keys"), far=far) as carried:
        await is_refused(carried)
        await is_refused(carried)
    said = [record.getMessage() for record in caplog.records if "TLS" in record.getMessage()]
    assert all("\n" not in line for line in said)
    assert sum("the two ends may have different keys" in line for line in said) == 2
    assert sum("(1 more times)" in line for line in said) == 2
    assert len(said) == 4  # each end: the first, and at its end how many more


async def test_no_key_where_one_is_needed(caplog: pytest.LogCaptureFixture) -> None:
    async with tunnel(far=key_options(KEY, server_side=True)) as carried:
        await is_refused(carried)
    assert any("the other end does not use TLS" in record.getMessage() for record in caplog.records)


async def test_who_has_no_key_and_does_not_care_for_the_servers(caplog: pytest.LogCaptureFixture) -> None:
    """Both must prove that they have it: a client that trusts anybody is refused all the same."""
    careless = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    careless.check_hostname = False
    careless.verify_mode = ssl.CERT_NONE
    async with tunnel(near=replace(PLAIN, tls=careless), far=key_options(KEY, server_side=True)) as carried:
        await is_refused(carried)
    assert any("peer did not return a certificate" in record.getMessage() for record in caplog.records)


async def test_a_key_where_none_is_needed() -> None:
    async with tunnel(near=key_options(KEY, server_side=False)) as carried:
        with await carried.connect() as user, await carried.service.accept() as service:
            assert (await receive(service, 1))[0] == 22  # it gets the handshake that was meant for the tunnel
            await send(service, b"HTTP/1.1 400 Bad Request\r\n\r\n")
            assert await is_reset(user)


async def test_somebody_who_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "FIRST_RECORD_TIMEOUT", 0.1)
    async with tunnel(far=key_options(KEY, server_side=True)) as carried:
        with await carried.connect() as user:
            assert await is_reset(user)


async def test_an_exposer_with_a_wrong_key_gets_no_users(caplog: pytest.LogCaptureFixture) -> None:
    async with reverse_tunnel(True, replace(PLAIN, connect_timeout=0.6), inside_key=OTHER_KEY) as carried:
        await is_refused(carried)
    said = [record.getMessage() for record in caplog.records]
    assert sum("certificate verify failed" in line and "trying again" in line for line in said) == 1
    assert sum("no `utcp tunnel expose` is connected" in line for line in said) == 1


async def test_somebody_who_is_no_exposer_gets_no_users(caplog: pytest.LogCaptureFixture) -> None:
    async with reverse_tunnel() as carried, utcp.Endpoint((LOCAL, 0), config=PLAIN.config) as stranger:
        assert isinstance(carried.far, Expose)
        reader, writer = await stranger.open_connection(LOCAL, EXPOSE_PORT, udp_port=carried.far.to[1])
        writer.write(b"GET / HTTP/1.1\r\nHost: tunnel\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            await reader.read()
        assert await works(carried)
    assert any("the other end is not `utcp tunnel expose`" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize(("ours", "theirs"), [(FORWARD_PORT, EXPOSE_PORT), (EXPOSE_PORT, FORWARD_PORT)])
async def test_one_kind_of_tunnel_is_not_taken_for_the_other(ours: int, theirs: int) -> None:
    async with tunnel() if ours == FORWARD_PORT else reverse_tunnel() as carried:
        to = carried.near.to if isinstance(carried.near, Listen) else carried.far.to  # type: ignore[attr-defined]
        async with utcp.Endpoint((LOCAL, 0), config=PLAIN.config) as stranger:
            with pytest.raises(utcp.ConnectionRefused):
                await stranger.open_connection(LOCAL, theirs, udp_port=to[1])


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    """A directory with ca.pem, other.pem, server.pem and client.pem, the last two with their private keys."""
    authority("ours").cert_pem.write_to_path(tmp_path / "ca.pem")
    authority("theirs").cert_pem.write_to_path(tmp_path / "other.pem")
    for name, identity in (("server.pem", "tunnel.example.org"), ("client.pem", "user@example.org")):
        certificate(identity).private_key_and_cert_chain_pem.write_to_path(tmp_path / name)
    return tmp_path


def by_certificates(pem: Path, ca: str = "ca.pem", name: str = "tunnel.example.org", own: str | None = None) -> Options:
    context = client_context(pem / ca, None if own is None else pem / own, None)
    return replace(PLAIN, tls=context, server_name=name)


async def test_a_certificate_and_its_authority(pem: Path) -> None:
    server = replace(PLAIN, tls=server_context(pem / "server.pem", None, None))
    async with tunnel(near=by_certificates(pem), far=server) as carried:
        assert await works(carried)


@pytest.mark.parametrize(
    ("ca", "name", "complaint"),
    [
        ("other.pem", "tunnel.example.org", "unable to get local issuer certificate"),
        ("ca.pem", "example.com", "Hostname mismatch"),
    ],
)
async def test_a_certificate_that_is_not_the_right_one(
    ca: str, name: str, complaint: str, pem: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = replace(PLAIN, tls=server_context(pem / "server.pem", None, None))
    async with tunnel(near=by_certificates(pem, ca, name), far=server) as carried:
        await is_refused(carried)
    assert any(complaint in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("own", [None, "client.pem"])
async def test_a_server_that_wants_certificates(own: str | None, pem: Path) -> None:
    server = replace(PLAIN, tls=server_context(pem / "server.pem", None, pem / "ca.pem"))
    async with tunnel(near=by_certificates(pem, own=own), far=server) as carried:
        if own is None:
            await is_refused(carried)
        else:
            assert await works(carried)


async def test_an_end_without_close_notify_is_a_reset() -> None:
    """Anybody on the path can forge a FIN: a body that is cut short must not look complete."""
    context = with_key(PLAIN, KEY, server_side=True).tls
    assert context is not None

    class Cut(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            assert isinstance(self.transport, tls.GuardedTls)
            self.transport.write(b"half of it")
            self.transport._below.write_eof()

        def eof_received(self) -> bool:
            return True

    def secured() -> tls.GuardedTls:
        return tls.GuardedTls(Cut(), context, lambda _: None, server_side=True)

    async with utcp.Endpoint((LOCAL, 0), config=PLAIN.config) as endpoint:
        await endpoint.create_server(secured, FORWARD_PORT)
        near = Listen((LOCAL, 0), (LOCAL, endpoint.address[1]), key_options(KEY, server_side=False))
        await near.start()
        assert near.users is not None
        carried = Tunnel(None, near.users.sockets[0].getsockname(), near, near)  # type: ignore[arg-type, attr-defined]
        with await carried.connect() as user:
            await send(user, b"?")
            assert await is_reset(user)
        await near.stop(0)


def test_both_ends_make_the_same_certificate() -> None:
    """With whatever version of the library: it is trusted octet for octet."""
    certificate_pem, private_key = _identity(KEY)
    assert (certificate_pem, private_key) == _identity(KEY)
    assert _identity(OTHER_KEY)[0] != certificate_pem
    assert hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate_pem.decode())).hexdigest() == (
        "8700f9f6e24054f0e556912f855de809d324a33b2b07e79239613ec0ea0ae00d"
    )
