"""anyio over utcp: listeners, attributes, and anyio's TLS above."""

import asyncio
import inspect
import socket
import ssl

import pytest

from tests.aio.peers import FAST
from tests.certificates import client_context, server_context

pytest.importorskip("anyio", reason="anyio comes with the extra 'integrations'")

import anyio
from anyio.abc import SocketAttribute
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.tls import TLSAttribute, TLSListener, TLSStream

from tests.integrations.anyio_pairs import HOST, SIZE, about, connected, drained, echo, serving
from utcp.integrations.anyio import (
    UtcpAttribute,
    UtcpListener,
    UtcpStream,
    _address,
    connect_utcp,
    create_utcp_listener,
)

pytestmark = pytest.mark.usefixtures("nothing_left")


async def test_handlers_in_a_task_group_of_ones_own() -> None:
    handled: list[UtcpStream] = []

    async def handle(stream: UtcpStream) -> None:
        handled.append(stream)
        await stream.aclose()

    async with await create_utcp_listener(local_host=HOST, config=FAST) as listener:
        assert isinstance(listener, UtcpListener)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, handle, tasks)
            for _ in range(3):
                async with await connect_utcp(HOST, about(listener, SocketAttribute.local_port)) as stream:
                    assert await drained(stream) == b""
            tasks.cancel_scope.cancel()
    assert len(handled) == 3


async def test_a_closed_listener() -> None:
    listener = await create_utcp_listener(local_host=HOST, config=FAST)
    port = about(listener, SocketAttribute.local_port)
    async with anyio.create_task_group() as tasks:

        async def accept() -> None:
            with pytest.raises(anyio.ClosedResourceError):
                await listener.accept()

        tasks.start_soon(accept)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(anyio.BusyResourceError):
            await listener.accept()
        await listener.aclose()
    with pytest.raises(anyio.ClosedResourceError):
        await listener.accept()
    with pytest.raises(ConnectionRefusedError):
        await connect_utcp(HOST, port)


async def test_connections_that_nobody_accepts() -> None:
    """`backlog` of them wait; the others are reset, and all when the listener is closed."""
    async with await create_utcp_listener(local_host=HOST, backlog=2, config=FAST) as listener:
        port = about(listener, SocketAttribute.local_port)
        streams = [await connect_utcp(HOST, port) for _ in range(3)]
        with pytest.raises(anyio.BrokenResourceError):
            await streams[2].receive()
        first = await listener.accept()
        await first.send(b"hello")
        assert await streams[0].receive() == b"hello"
        await listener.aclose()
        with pytest.raises(anyio.BrokenResourceError):
            await streams[1].receive()
        async with anyio.create_task_group() as tasks:
            for stream in (*streams, first):
                tasks.start_soon(stream.aclose)


async def test_a_backlog_of_0_is_one_of_1() -> None:
    async with await create_utcp_listener(local_host=HOST, backlog=0, config=FAST) as listener:
        port = about(listener, SocketAttribute.local_port)
        async with await connect_utcp(HOST, port) as ours, await listener.accept() as theirs:
            await theirs.send(b"hello")
            assert await ours.receive() == b"hello"


# --- attributes


async def test_attributes() -> None:
    async with connected() as (ours, theirs):
        assert about(ours, SocketAttribute.family) == socket.AF_INET
        assert about(ours, SocketAttribute.remote_address) == about(theirs, SocketAttribute.local_address)
        assert about(ours, SocketAttribute.local_address)[0] == HOST
        assert about(ours, SocketAttribute.remote_port) == about(theirs, SocketAttribute.local_port)
        assert about(ours, SocketAttribute.local_port) == about(theirs, SocketAttribute.remote_port)
        about(ours, SocketAttribute.raw_socket).setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        assert "keepalive" in about(ours, UtcpAttribute.info).timers


async def test_attributes_of_ipv6() -> None:
    async with await create_utcp_listener(local_host="::1", config=FAST) as listener:
        host, port = about(listener, SocketAttribute.local_address)
        assert (host, port) == ("::1", about(listener, SocketAttribute.local_port))
        assert about(listener, SocketAttribute.family) == socket.AF_INET6
        assert about(listener, SocketAttribute.raw_socket).getsockname()[1] == port
        async with await connect_utcp(host, port) as stream:
            assert about(stream, SocketAttribute.remote_address) == ("::1", port)
            await (await listener.accept()).aclose()


def test_a_scope_belongs_to_the_host() -> None:
    assert _address(("fe80::1", 9000, 0, 3)) == ("fe80::1%3", 9000)
    assert _address(("fe80::1%eth0", 9000, 0, 3)) == ("fe80::1%eth0", 9000)
    assert _address(("2001:db8::1", 9000, 0, 0)) == ("2001:db8::1", 9000)


# --- TLS


async def test_tls() -> None:
    data = bytes(range(256)) * (SIZE // 256)
    listener = TLSListener(await create_utcp_listener(local_host=HOST, config=FAST), server_context(alpn=["echo"]))
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, echo)
        plain = await connect_utcp(HOST, about(listener.listener, SocketAttribute.local_port), config=FAST)
        stream = await TLSStream.wrap(plain, hostname="localhost", ssl_context=client_context(alpn=["echo"]))
        assert about(stream, TLSAttribute.alpn_protocol) == "echo"
        assert about(stream, UtcpAttribute.info).state == "ESTABLISHED"
        async with anyio.create_task_group() as conversation:
            conversation.start_soon(stream.send, data)
            assert await BufferedByteReceiveStream(stream).receive_exactly(SIZE) == data
        await stream.aclose()
        tasks.cancel_scope.cancel()


async def test_tls_that_is_cut_off() -> None:
    """A FIN without close_notify is no end of a TLS stream."""

    async def cut_off(stream: UtcpStream) -> None:
        secure = await TLSStream.wrap(stream, server_side=True, ssl_context=server_context())
        await secure.send(b"the first half")
        await stream.aclose()

    async with serving(cut_off) as port:
        plain = await connect_utcp(HOST, port, config=FAST)
        stream = await TLSStream.wrap(plain, hostname="localhost", ssl_context=client_context())
        assert await stream.receive() == b"the first half"
        with pytest.raises(anyio.BrokenResourceError):
            await stream.receive()
        await anyio.aclose_forcefully(plain)


async def test_tls_that_does_not_come_about() -> None:
    async def refuse(stream: UtcpStream) -> None:
        with pytest.raises((ssl.SSLError, anyio.BrokenResourceError)):
            await TLSStream.wrap(stream, server_side=True, ssl_context=server_context())
        await stream.aclose()

    async with serving(refuse) as port, await connect_utcp(HOST, port, config=FAST) as plain:
        with pytest.raises(ssl.SSLCertVerificationError):
            await TLSStream.wrap(plain, hostname="example.org", ssl_context=client_context())


def test_the_parameters_are_anyios() -> None:
    """What both have is called the same."""
    connect, listen = inspect.signature(connect_utcp), inspect.signature(create_utcp_listener)
    assert set(connect.parameters) - {"config", "endpoint"} <= set(inspect.signature(anyio.connect_tcp).parameters)
    assert set(listen.parameters) - {"config", "endpoint"} <= set(
        inspect.signature(anyio.create_tcp_listener).parameters
    )


async def test_run_by_anyio() -> None:
    """In a loop that anyio itself has started, in a thread of its own."""

    async def main() -> bytes:
        async with serving(echo) as port, await connect_utcp(HOST, port, config=FAST) as stream:
            await stream.send(b"hello")
            return await stream.receive()

    assert await asyncio.to_thread(anyio.run, main) == b"hello"
