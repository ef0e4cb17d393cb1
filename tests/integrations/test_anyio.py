"""anyio over utcp: streams, and the errors that anyio's programs catch."""

import asyncio
import socket

import pytest

import utcp
from tests.aio.peers import FAST, started, until

pytest.importorskip("anyio", reason="anyio comes with the extra 'integrations'")

import anyio
from anyio.streams.buffered import BufferedByteReceiveStream

from tests.integrations.anyio_pairs import HOST, SIZE, about, connected, drained, echo, send_for_ever, serving
from utcp.integrations.anyio import (
    UtcpAttribute,
    UtcpStream,
    connect_utcp,
    create_utcp_listener,
)

pytestmark = pytest.mark.usefixtures("nothing_left")

# --- data


async def test_there_and_back() -> None:
    data = bytes(range(256)) * (SIZE // 256)

    async def send(stream: UtcpStream) -> None:
        await stream.send(data)
        await stream.send_eof()

    async with (
        serving(echo) as port,
        await connect_utcp(HOST, port, config=FAST) as stream,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(send, stream)
        assert await drained(stream) == data


async def test_half_close() -> None:
    """send_eof() is the FIN: the other side may still answer."""
    async with connected() as (ours, theirs):
        await ours.send(b"what else?")
        await ours.send_eof()
        await ours.send_eof()
        assert await theirs.receive() == b"what else?"
        with pytest.raises(anyio.EndOfStream):
            await theirs.receive()
        assert about(theirs, UtcpAttribute.info).state == "CLOSE_WAIT"
        await until(lambda: about(ours, UtcpAttribute.info).state == "FIN_WAIT_2")  # its ACK needs a loop turn
        await theirs.send(b"the first")
        await theirs.send(b"the last")
        await theirs.aclose()
        assert await drained(ours) == b"the firstthe last"


async def test_pieces() -> None:
    async with connected() as (ours, theirs):
        await ours.send(b"one two three")
        assert [await theirs.receive(4) for _ in range(4)] == [b"one ", b"two ", b"thre", b"e"]
        with pytest.raises(ValueError, match="max_bytes must be a positive integer"):
            await theirs.receive(0)
        buffered = BufferedByteReceiveStream(theirs)
        await ours.send(b"a line\nthe rest")
        assert await buffered.receive_until(b"\n", 100) == b"a line"
        assert await buffered.receive_exactly(8) == b"the rest"


async def test_back_pressure() -> None:
    """A sender waits for a receiver who does not receive, and it all arrives."""
    block = bytes(1 << 20)
    async with connected() as (ours, theirs):
        sent = 0

        async def send() -> None:
            nonlocal sent
            for _ in range(48):
                await ours.send(block)
                sent += 1
            await ours.aclose()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send)
            before = None
            while (progress := (sent, about(ours, UtcpAttribute.info).bytes_acked)) != before:
                before = progress
                await anyio.sleep(0.1)
            assert sent < 24
            size = 0
            async for data in theirs:
                size += len(data)
            assert size == 48 << 20
            await theirs.aclose()


# --- closing


async def test_aclose_waits_for_delivery() -> None:
    async with connected() as (ours, theirs):
        await ours.send(bytes(SIZE))
        with anyio.move_on_after(0.05) as scope:
            await ours.aclose()
        assert scope.cancelled_caught  # the other end has not received it all
        assert len(await drained(theirs)) == SIZE  # and gets it in the background all the same
        await ours.aclose()


async def test_aclose_forcefully_loses_nothing() -> None:
    """What anyio does to streams that it gives up is a close, no reset."""
    async with connected() as (ours, theirs):
        await ours.send(b"the last word")
        await anyio.aclose_forcefully(ours)
        assert await drained(theirs) == b"the last word"


async def test_aclose_forcefully_never_fails() -> None:
    """Not even when it is just then that the connection is lost."""
    async with connected() as (ours, _):
        await ours.send(bytes(SIZE))
        protocol = about(ours, UtcpAttribute.transport).get_protocol()
        asyncio.get_running_loop().call_soon(protocol.connection_lost, utcp.ConnectionReset())
        await anyio.aclose_forcefully(ours)


async def test_what_cannot_be_delivered_is_told() -> None:
    async with connected() as (ours, theirs):
        await ours.send(bytes(SIZE))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(until, lambda: about(theirs, UtcpAttribute.info).bytes_received)
        about(theirs, UtcpAttribute.transport).abort()
        with pytest.raises(anyio.BrokenResourceError) as raised:
            await ours.aclose()
        assert isinstance(raised.value.__cause__, utcp.ConnectionReset)
        await ours.aclose()  # once is enough


async def test_a_peer_that_leaves_with_all_it_wanted_is_no_error() -> None:
    """A server whose client resets the connection once it has everything goes on."""
    async with connected() as (ours, theirs):
        await ours.send(b"all of it")
        assert await theirs.receive() == b"all of it"
        await until(lambda: about(ours, UtcpAttribute.info).bytes_acked == 9)
        about(theirs, UtcpAttribute.transport).abort()
        await ours.aclose()


async def test_closing_in_the_middle_of_what_the_peer_says() -> None:
    async with connected() as (ours, theirs), anyio.create_task_group() as tasks:

        async def talk() -> None:
            with pytest.raises(anyio.BrokenResourceError):
                await send_for_ever(theirs)

        tasks.start_soon(talk)
        await ours.receive()
        await ours.aclose()


# --- errors


async def test_after_ones_own_close() -> None:
    async with connected() as (ours, theirs):
        await theirs.send(b"unread")
        await ours.aclose()
        with pytest.raises(anyio.ClosedResourceError):
            await ours.receive()
        with pytest.raises(anyio.ClosedResourceError):
            await ours.send(b"more")
        with pytest.raises(anyio.ClosedResourceError):
            await ours.send_eof()
        await ours.aclose()


async def test_no_sending_after_eof() -> None:
    async with connected() as (ours, _):
        await ours.send_eof()
        with pytest.raises(anyio.ClosedResourceError):
            await ours.send(b"more")


async def test_a_close_wakes_who_waits() -> None:
    async with connected() as (ours, _), anyio.create_task_group() as tasks:

        async def receive() -> None:
            with pytest.raises(anyio.ClosedResourceError):
                await ours.receive()

        async def send() -> None:
            with pytest.raises(anyio.ClosedResourceError):
                await send_for_ever(ours)

        tasks.start_soon(receive)
        tasks.start_soon(send)
        await anyio.wait_all_tasks_blocked()
        await anyio.aclose_forcefully(ours)


async def test_a_reset() -> None:
    async with connected() as (ours, theirs):
        await ours.send(b"before")
        await until(lambda: about(theirs, UtcpAttribute.info).bytes_received == 6)
        about(ours, UtcpAttribute.transport).abort()
        await until(lambda: about(theirs, UtcpAttribute.info).state == "CLOSED")
        assert await theirs.receive() == b"before"
        for attempt in (theirs.receive, lambda: theirs.send(b"more"), theirs.send_eof):
            with pytest.raises(anyio.BrokenResourceError) as raised:
                await attempt()
            assert isinstance(raised.value.__cause__, utcp.ConnectionReset)
        await theirs.aclose()
        with pytest.raises(anyio.ClosedResourceError):
            await theirs.receive()


async def test_an_endpoint_that_is_closed_under_it() -> None:
    async with utcp.Endpoint((HOST, 0), config=FAST) as theirs:
        listener = await create_utcp_listener(endpoint=theirs)
        endpoint = await utcp.Endpoint((HOST, 0), config=FAST).start()
        stream = await connect_utcp(HOST, theirs.address[1], endpoint=endpoint)
        assert about(stream, UtcpAttribute.transport).get_extra_info("udp_sockname") == endpoint.address
        served = await listener.accept()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(endpoint.aclose)
            with pytest.raises(anyio.EndOfStream):
                await served.receive()
            await served.aclose()
        with pytest.raises((anyio.BrokenResourceError, anyio.EndOfStream)):
            await stream.receive()
        await listener.aclose()


async def test_one_at_a_time() -> None:
    async with connected() as (ours, _), anyio.create_task_group() as tasks:
        tasks.start_soon(ours.receive)
        tasks.start_soon(ours.send, bytes(16 << 20))
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(anyio.BusyResourceError):
            await ours.receive()
        with pytest.raises(anyio.BusyResourceError):
            await ours.send(b"me too")
        with pytest.raises(anyio.BusyResourceError):
            await ours.send_eof()
        tasks.cancel_scope.cancel()


async def test_a_send_that_was_cancelled() -> None:
    """It has gone in whole: what follows waits until there is room."""
    async with connected() as (ours, theirs):
        with anyio.move_on_after(0.02) as scope:
            await ours.send(b"a" * (16 << 20))
        assert scope.cancelled_caught
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ours.send, b"b")
            size = 0
            while not (data := await theirs.receive()).endswith(b"b"):
                size += len(data)
            assert size + len(data) - 1 == 16 << 20


async def test_cancelled_while_connecting() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind((HOST, 0))
        with anyio.move_on_after(0.02) as scope:
            await connect_utcp(*silent.getsockname())
        assert scope.cancelled_caught
        assert not [endpoint for endpoint in started() if endpoint.stack.connections]


async def test_nobody_listens() -> None:
    async with utcp.Endpoint((HOST, 0)) as endpoint:
        with pytest.raises(ConnectionRefusedError):
            await connect_utcp(HOST, endpoint.address[1])


def test_only_on_asyncio() -> None:
    for coroutine in (connect_utcp(HOST, 1), create_utcp_listener()):
        with pytest.raises(RuntimeError, match="utcp needs an event loop of asyncio"):
            coroutine.send(None)


@pytest.mark.parametrize("method", ["receive", "send", "send_eof", "aclose"])
async def test_each_call_is_a_checkpoint(method: str) -> None:
    async with connected() as (ours, theirs):
        await theirs.send(b"something to receive")
        await until(lambda: about(ours, UtcpAttribute.info).bytes_received)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await getattr(ours, method)(*([b"x"] if method == "send" else []))
        assert scope.cancelled_caught
