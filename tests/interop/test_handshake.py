"""What the two agree on in the handshake, as both of them tell it."""

from dataclasses import replace

import pytest

from tests.interop import kernel
from tests.interop.namespace import sysctl
from tests.interop.wire import DEFAULT, PORT, UTCP_IPV6, Opener, Wire
from utcp import ConnectionInfo

both_openers = pytest.mark.parametrize("opener", ["kernel", "utcp"])


@both_openers
async def test_all_options(opener: Opener) -> None:
    async with Wire() as wire:
        sock, _, writer = await wire.open(opener)
        with sock:
            info: ConnectionInfo = writer.get_extra_info("utcp")
            assert (info.window_scaling, info.timestamps, info.sack, info.snd_mss) == (True, True, True, 1448)
            seen = kernel.tcp_info(sock)
            assert (seen.window_scaling, seen.timestamps, seen.sack, seen.snd_mss) == (True, True, True, 1448)
            connection = next(iter(wire.endpoint.stack.connections.values()))
            assert seen.snd_wscale == connection.receive_side.shift > 0
            assert seen.rcv_wscale == connection.send_side.shift > 0
            writer.close()


@both_openers
@pytest.mark.parametrize("option", ["window_scaling", "timestamps", "sack"])
@pytest.mark.parametrize("refuser", ["kernel", "utcp"])
async def test_without_one_option(opener: Opener, option: str, refuser: Opener) -> None:
    config = DEFAULT
    if refuser == "kernel":
        sysctl(f"ipv4/tcp_{option}", 0)
    elif option == "window_scaling":
        config = replace(config, window_scaling=False)
    elif option == "timestamps":
        config = replace(config, timestamps=False)
    else:
        config = replace(config, sack=False)
    async with Wire(config) as wire:
        sock, reader, writer = await wire.open(opener)
        with sock:
            for option_seen in ("window_scaling", "timestamps", "sack"):
                expected = option_seen != option
                assert getattr(kernel.tcp_info(sock), option_seen) is expected
                assert getattr(writer.get_extra_info("utcp"), option_seen) is expected
            writer.write(b"there")
            assert await kernel.receive(sock) == b"there"
            await kernel.send(sock, b"and back")
            assert await reader.read(100) == b"and back"
            writer.close()


@both_openers
async def test_mss_of_utcp(opener: Opener) -> None:
    async with Wire(replace(DEFAULT, mss=700)) as wire:
        sock, reader, writer = await wire.open(opener)
        with sock:
            assert kernel.tcp_info(sock).snd_mss == 700 - 12  # timestamps
            await kernel.send(sock, bytes(5000))
            await reader.readexactly(5000)
            sizes = {len(entry.segment.payload) for entry in wire.trace.entries if entry.direction == "<"}
            assert max(sizes) == 700 - 12
            writer.close()


async def test_mss_of_the_kernel() -> None:
    async with Wire() as wire:
        accepted = await wire.serve(PORT)
        with await kernel.connect(wire.host, PORT, max_segment=600) as sock:
            _, writer = await accepted.get()
            assert writer.get_extra_info("utcp").snd_mss == 600 - 12
            writer.write(bytes(5000))
            writer.close()
            assert await kernel.receive_all(sock) == bytes(5000)
            sizes = {len(entry.segment.payload) for entry in wire.trace.entries if entry.direction == ">"}
            assert max(sizes) == 600 - 12


@both_openers
async def test_ipv6(opener: Opener) -> None:
    async with Wire(host=UTCP_IPV6) as wire:
        sock, reader, writer = await wire.open(opener)
        with sock:
            assert writer.get_extra_info("utcp").snd_mss == kernel.tcp_info(sock).snd_mss == 1500 - 40 - 20 - 12
            assert writer.get_extra_info("peername") == sock.getsockname()
            assert writer.get_extra_info("sockname") == sock.getpeername()
            writer.write(b"there")
            assert await kernel.receive(sock) == b"there"
            await kernel.send(sock, b"and back")
            assert await reader.read(100) == b"and back"
            writer.close()
            assert await kernel.receive(sock) == b""


@both_openers
async def test_names(opener: Opener) -> None:
    async with Wire() as wire:
        sock, _, writer = await wire.open(opener)
        with sock:
            assert writer.get_extra_info("peername") == sock.getsockname()
            assert writer.get_extra_info("sockname") == sock.getpeername()
            writer.close()
