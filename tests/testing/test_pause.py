"""Programs that are paused, and hosts that are suspended."""

import asyncio
import signal
import time

import pytest

import utcp
from tests.testing.apps import PORT, ask, serve
from utcp.testing import Host, Network, Stalled, simulate
from utcp.wire import SYN

HTTP = 80


async def serve_upper() -> None:
    async def upper(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line.upper())
        writer.close()

    async with await asyncio.start_server(upper, "0.0.0.0", HTTP) as server:
        await server.serve_forever()


def server_of(net: Network) -> Host:
    host = net.host("server")
    net.link(net.main, host, latency=0.05)
    host.start(serve_upper)
    return host


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> float:
    """The time at which the answer to a line comes."""
    writer.write(b"hello\n")
    assert await reader.readline() == b"HELLO\n"
    return asyncio.get_running_loop().time()


async def test_the_kernel_of_a_paused_program_goes_on(simnet: Network) -> None:
    server = server_of(simnet)
    reader, writer = await asyncio.open_connection("server", HTTP)
    await asyncio.sleep(0.9)
    server.pause(30)
    assert (server.paused, server.suspended) == (True, False)
    assert repr(server).endswith("paused>")
    before = len(simnet.trace)
    assert await answer(reader, writer) == pytest.approx(31.05)
    assert (server.paused, server.suspended) == (False, False)
    segments = [sent.packet for sent in simnet.trace[before:] if sent.packet.segment and sent.packet.segment.payload]
    assert [packet.source for packet in segments] == ["main", "server"]  # acknowledged, so not sent again
    writer.close()


async def test_a_paused_server_has_a_backlog(simnet: Network) -> None:
    server = server_of(simnet)
    await asyncio.sleep(1)
    server.pause(10)
    streams = await asyncio.open_connection("server", HTTP)
    assert simnet.loop.now == pytest.approx(1.1)
    assert await answer(*streams) == pytest.approx(11.05)
    streams[1].close()


async def test_the_windows_of_a_paused_program_close(simnet: Network) -> None:
    server = server_of(simnet)
    _, writer = await asyncio.open_connection("server", HTTP)
    await asyncio.sleep(1)
    server.pause(10)
    writer.write((bytes(999) + b"\n") * 3_000)
    await writer.drain()
    assert simnet.loop.now > 11
    writer.transport.abort()


async def test_a_suspended_host_is_silent(simnet: Network) -> None:
    server = server_of(simnet)
    reader, writer = await asyncio.open_connection("server", HTTP)
    await asyncio.sleep(1)
    server.suspend(3)
    assert server.suspended
    assert repr(server).endswith("suspended>")
    asking = asyncio.create_task(asyncio.open_connection("server", HTTP))
    assert await answer(reader, writer) > 4
    assert [sent.packet.source for sent in simnet.trace if 1 < sent.packet.time < 4].count("server") == 0
    syns = [sent.packet.time for sent in simnet.trace if sent.packet.segment and sent.packet.segment.flags == SYN]
    assert syns[-2:] == pytest.approx([2.1, 4.1], abs=0.01)  # the first SYN comes while the host is suspended
    (await asking)[1].close()
    writer.close()


@pytest.mark.parametrize("whole", [False, True])
async def test_timers_fire_late_and_after_what_has_arrived(simnet: Network, whole: bool) -> None:
    """As in a real loop: ready callbacks, then sockets, then timers. The clocks go on."""
    device = simnet.host("device")
    seen: list[tuple[str, float, float]] = []

    class Receiver(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            seen.append((data.decode(), asyncio.get_running_loop().time(), time.time() % 100))

    def fire(due: int) -> None:
        seen.append((f"timer {due}", asyncio.get_running_loop().time(), time.time() % 100))

    async def run() -> None:
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(Receiver, local_addr=("0.0.0.0", HTTP))
        for due in (2, 3, 20):
            loop.call_at(due, fire, due)
        loop.call_at(2.5, print).cancel()

    await device.run(run())
    near, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        asyncio.DatagramProtocol, remote_addr=("device", HTTP)
    )
    await asyncio.sleep(1)
    device.suspend() if whole else device.pause()
    await asyncio.sleep(4)
    near.sendto(b"datagram")
    await asyncio.sleep(5)
    assert seen == []
    device.resume()
    await asyncio.sleep(20)
    late = [("timer 2", 10, 10), ("timer 3", 10, 10), ("timer 20", 20, 20)]
    assert seen == late if whole else [("datagram", 10, 10), *late]
    near.close()


async def test_a_paused_program_of_utcp(simnet: Network) -> None:
    """utcp stands still with its program. The datagrams wait in the UDP socket."""
    server = simnet.host("server")
    server.start(serve)
    await asyncio.sleep(1)
    server.pause(20)
    assert await ask("server", b"?") == b"?"
    assert simnet.loop.now == pytest.approx(21)
    server.suspend(200)
    with pytest.raises(TimeoutError):
        await utcp.open_connection("server", PORT, config=utcp.Config(syn_retries=3))


async def test_programs_that_start_meanwhile_wait(simnet: Network) -> None:
    host = simnet.host("host")
    host.pause(5)
    await host.run(asyncio.sleep(1))
    assert simnet.loop.now == 6


async def test_a_program_that_pauses_itself(simnet: Network) -> None:
    """It runs on to its next await, as the scenario does that pauses its own host."""
    host = simnet.host("host")

    async def stop() -> float:
        host.pause(5)
        timer = asyncio.get_running_loop().call_later(1, print)
        asyncio.get_running_loop().call_later(2, timer.cancel)
        await asyncio.sleep(0)
        now = simnet.loop.now
        timer.cancel()
        return now

    assert await host.run(stop()) == 5
    simnet.main.pause(5)
    await asyncio.sleep(1)
    assert simnet.loop.now == 10
    with pytest.raises(ValueError, match="only for some seconds"):
        simnet.main.pause()


async def test_a_further_call_sets_another_end(simnet: Network) -> None:
    host = simnet.host("host")
    running = host.run(asyncio.sleep(0))
    host.pause(5)
    host.pause(1)
    await running
    assert simnet.loop.now == 1
    running = host.run(asyncio.sleep(0))
    host.pause(1)
    host.pause()
    await asyncio.sleep(10)
    assert not running.done()
    host.resume()
    host.resume()
    await running
    with pytest.raises(ValueError, match="0 or more seconds"):
        host.pause(-1)


async def test_a_paused_program_that_is_killed(simnet: Network) -> None:
    server = server_of(simnet)
    reader, writer = await asyncio.open_connection("server", HTTP)
    await asyncio.sleep(1)
    server.pause(100)
    server.kill()
    assert await reader.read() == b""  # the kernel sends FIN
    assert simnet.loop.now < 2
    writer.close()
    assert not server.paused
    server.start(serve_upper)
    server.suspend(100)
    for call in (server.kill, server.pause):
        with pytest.raises(RuntimeError, match="is suspended: resume it first"):
            call()
    server.restart()
    assert not server.suspended
    await asyncio.sleep(0)
    streams = await asyncio.open_connection("server", HTTP)
    await answer(*streams)
    streams[1].close()
    server.crash()
    for call in (server.pause, server.suspend):
        with pytest.raises(RuntimeError, match="is down"):
            call()


async def test_signals_that_stop_and_continue(simnet: Network) -> None:
    seen: list[tuple[str, float]] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, lambda: seen.append(("SIGHUP", loop.time())))
        await asyncio.sleep(1000)

    host = simnet.host("host")
    running = host.run(run())
    await asyncio.sleep(1)
    host.kill(signal.SIGSTOP)
    assert host.paused
    host.kill(signal.SIGHUP)
    await asyncio.sleep(1)
    assert seen == []
    host.kill(signal.SIGCONT)
    host.kill(signal.SIGCONT)
    await asyncio.sleep(1)
    assert seen == [("SIGHUP", 2)]
    assert not running.done()


def test_a_run_ends_with_paused_hosts(simnet: Network) -> None:
    ended: list[str] = []

    async def run() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            ended.append("program")

    async def scenario() -> None:
        for name, stop in (("a", Host.pause), ("b", Host.suspend)):
            host = simnet.host(name)
            host.run(run())
            await asyncio.sleep(1)
            stop(host)

    simnet.run(scenario())
    assert ended == ["program"] * 2


def test_a_run_that_hangs_because_of_a_pause_says_so(simnet: Network) -> None:
    async def scenario() -> None:
        host = simnet.host("host")
        host.pause()
        await host.run(asyncio.sleep(1))

    with pytest.raises(Stalled, match=r"a host is paused: Host\.resume"):
        simnet.run(scenario())


def test_pauses_under_many_seeds() -> None:
    """A pause of any length at any time delays answers, and loses none."""

    @simulate(seeds=20)
    async def check(net: Network) -> None:
        server = server_of(net)
        net.link(net.main, server, loss=0.05, jitter=0.01)
        await asyncio.sleep(0.01)

        async def stop() -> None:
            while True:
                await asyncio.sleep(net.random.uniform(0, 3))
                if not server.paused:
                    net.random.choice([server.pause, server.suspend])(net.random.uniform(0, 3))

        stopping = asyncio.create_task(stop())
        reader, writer = await asyncio.open_connection("server", HTTP)
        for _ in range(30):
            await answer(reader, writer)
            await asyncio.sleep(0.1)
        stopping.cancel()
        writer.close()

    check()
