"""TLS that does not come about: the same errors as over asyncio's own TCP, and nothing is left."""

import asyncio
import gc
import re
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import utcp
from tests.aio.peers import FAST, Peers, Recorder, transports_of, until
from tests.certificates import client_context, server_context
from utcp.aio.tls.transport import TlsTransport


def handshakes_in_memory() -> int:
    """A timer, a task or a transport that was left behind would keep its TlsTransport alive."""
    gc.collect()
    return sum(isinstance(each, TlsTransport) for each in gc.get_objects())


@pytest.fixture(autouse=True)
async def _nothing_is_left(peers: Peers) -> AsyncIterator[None]:
    before = handshakes_in_memory()
    yield
    await until(lambda: not peers.client.driver.transports and not peers.server.driver.transports)
    assert not [each for each in peers.client.stack.connections.values() if each.context is not None]
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert handshakes_in_memory() == before


async def outcome(opening: Any) -> tuple[type[BaseException], str]:
    """What it raised, without the traceback, whose frames would keep everything alive."""
    try:
        await opening
    except Exception as error:
        return type(error), str(error)
    raise AssertionError("it did not fail")


async def echo_line(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        writer.write(await reader.readline())
    except OSError:
        return
    finally:
        writer.close()


async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 this is no TLS server\r\n")
    await echo_line(reader, writer)


def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


def wrong_name() -> tuple[Any, dict[str, Any], dict[str, Any]]:
    return echo_line, {"ssl": server_context()}, {"ssl": client_context(), "server_hostname": "example.org"}


def wrong_address() -> tuple[Any, dict[str, Any], dict[str, Any]]:
    return echo_line, {"ssl": server_context("localhost")}, {"ssl": client_context()}


def untrusted() -> tuple[Any, dict[str, Any], dict[str, Any]]:
    return echo_line, {"ssl": server_context(issuer="nobody's")}, {"ssl": client_context()}


def untrusted_by_default() -> tuple[Any, dict[str, Any], dict[str, Any]]:
    return echo_line, {"ssl": server_context()}, {"ssl": True}


def old_version() -> tuple[Any, dict[str, Any], dict[str, Any]]:
    modern, old = server_context(), client_context()
    modern.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2
    return echo_line, {"ssl": modern}, {"ssl": old}


def plain_server() -> tuple[Any, dict[str, Any], dict[str, Any]]:
    return babble, {}, {"ssl": client_context()}


def server_that_hangs_up() -> tuple[Any, dict[str, Any], dict[str, Any]]:
    return hang_up, {}, {"ssl": client_context()}


def server_without_a_word() -> tuple[Any, dict[str, Any], dict[str, Any]]:
    return say_nothing, {}, {"ssl": client_context(), "ssl_handshake_timeout": 0.1}


@pytest.mark.parametrize(
    ("scenario", "error", "text"),
    [
        (wrong_name, ssl.SSLCertVerificationError, "Hostname mismatch, certificate is not valid for 'example.org'"),
        (wrong_address, ssl.SSLCertVerificationError, "IP address mismatch, certificate is not valid for '127.0.0.1'"),
        (untrusted, ssl.SSLCertVerificationError, "unable to get local issuer certificate"),
        (untrusted_by_default, ssl.SSLCertVerificationError, "unable to get local issuer certificate"),
        (plain_server, ssl.SSLError, "(?i)wrong.version.number|record layer failure"),
        (server_that_hangs_up, ConnectionResetError, ""),
        (server_without_a_word, ConnectionAbortedError, "SSL handshake is taking longer than 0.1 seconds"),
        (old_version, ConnectionResetError, ""),
    ],
)
async def test_the_errors_are_asyncios(
    scenario: Callable[[], tuple[Any, dict[str, Any], dict[str, Any]]], error: type[Exception], text: str
) -> None:
    """The same open_connection() to the same server, over the kernel's TCP and over utcp."""
    raised = []
    for streams, options in ((asyncio, {}), (utcp, {"config": FAST})):
        handler, server_options, client_options = scenario()
        server = await streams.start_server(handler, "127.0.0.1", 0, **server_options, **options)
        name = server.sockets[0].getsockname()[:2]
        raised.append(await outcome(streams.open_connection(*name, **client_options, **options)))
        server.close()
        await server.wait_closed()
    kernel, ours = raised
    assert kernel[0] is error
    assert issubclass(ours[0], error)
    for _, said in raised:
        assert re.search(text, said)


async def test_a_client_without_the_certificate_asked_for(peers: Peers) -> None:
    """With TLS 1.3 the client's handshake is complete before the server has looked: it hears of it afterwards."""
    await peers.server.start_server(echo_line, ssl=server_context(client_issuer="ours"))
    reader, writer = await peers.client.open_connection(peers.host, peers.port, ssl=client_context())
    writer.write(b"let me in\n")
    assert (await outcome(reader.readexactly(1)))[0] is utcp.ConnectionReset
    writer.close()
    await outcome(writer.wait_closed())


async def test_a_client_that_does_not_speak_tls(peers: Peers) -> None:
    connected: list[asyncio.StreamWriter] = []
    await peers.server.start_server(lambda _, writer: connected.append(writer), ssl=server_context())
    reader, writer = await peers.client.open_connection(peers.host, peers.port)
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    assert (await outcome(reader.readexactly(1)))[0] is utcp.ConnectionReset
    writer.close()
    await outcome(writer.wait_closed())
    assert not connected


async def test_a_server_does_not_wait_for_a_handshake_for_ever(peers: Peers) -> None:
    connected: list[asyncio.StreamWriter] = []
    await peers.server.start_server(
        lambda _, writer: connected.append(writer), ssl=server_context(), ssl_handshake_timeout=0.05
    )
    reader, writer = await peers.client.open_connection(peers.host, peers.port)
    assert (await outcome(reader.read()))[0] is utcp.ConnectionReset
    writer.close()
    await outcome(writer.wait_closed())
    assert not connected


async def test_a_client_that_leaves_during_the_handshake(peers: Peers) -> None:
    await peers.server.start_server(echo_line, ssl=server_context())
    _, writer = await peers.client.open_connection(peers.host, peers.port)
    await until(lambda: peers.server.driver.transports)
    writer.close()
    assert (await outcome(writer.wait_closed()))[0] is utcp.ConnectionReset


async def test_cancelling_a_handshake(peers: Peers) -> None:
    await peers.server.create_server(peers.remember(Recorder))  # does not speak TLS
    opening = asyncio.create_task(peers.client.open_connection(peers.host, peers.port, ssl=client_context()))
    await until(lambda: peers.accepted and peers.accepted[0].received)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    await until(lambda: peers.accepted[0].lost)
    del opening  # and with it what was raised


@pytest.mark.parametrize("name", ["ssl_handshake_timeout", "ssl_shutdown_timeout"])
async def test_bad_timeouts(peers: Peers, name: str) -> None:
    await peers.server.create_server(peers.remember(Recorder))
    bad: dict[str, Any] = {name: -1}
    opening = peers.client.open_connection(peers.host, peers.port, ssl=client_context(), **bad)
    assert await outcome(opening) == (ValueError, f"{name} should be a positive number, got -1")
    assert not peers.client.stack.connections
    for lonely in (
        peers.client.open_connection(peers.host, peers.port, **bad),
        peers.server.create_server(Recorder, 1, **bad),
    ):
        assert await outcome(lonely) == (ValueError, f"{name} is only meaningful with ssl")


async def test_what_does_not_go_together(peers: Peers) -> None:
    opening = peers.client.open_connection(peers.host, peers.port, server_hostname="localhost")
    assert await outcome(opening) == (ValueError, "server_hostname is only meaningful with ssl")
    serving = peers.server.create_server(Recorder, ssl=True)  # type: ignore[arg-type]  # on purpose
    assert await outcome(serving) == (TypeError, "ssl argument must be an SSLContext or None")
    assert not peers.client.stack.connections
    assert not peers.server.stack.listeners


async def test_a_failed_upgrade_closes_the_connection(peers: Peers) -> None:
    await peers.server.start_server(echo_line)  # sends the client's own greeting back
    _, writer = await peers.client.open_connection(peers.host, peers.port)
    upgrading = writer.start_tls(client_context(), server_hostname="localhost", ssl_handshake_timeout=1)
    assert issubclass((await outcome(upgrading))[0], OSError)
    await until(lambda: not peers.client.driver.transports)


async def test_an_upgrade_of_a_connection_that_closes(peers: Peers) -> None:
    await peers.server.start_server(say_nothing)
    _, writer = await peers.client.open_connection(peers.host, peers.port)
    upgrading = asyncio.ensure_future(writer.start_tls(client_context(), server_hostname="localhost"))
    await asyncio.sleep(0.05)
    (transport,) = transports_of(peers.client)
    transport.abort()
    assert await outcome(upgrading) == (ConnectionAbortedError, "Connection closed during the TLS handshake")
    del upgrading, transport, writer
