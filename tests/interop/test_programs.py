"""Real programs, over the kernel's TCP, as utcp's peers."""

import asyncio
import json
import shutil
from contextlib import suppress

import pytest

from tests.interop import kernel
from tests.interop.bulk import MIB, digest, octets
from tests.interop.wire import KERNEL, PORT, Wire, until
from utcp import StreamWriter

PATIENCE = "20"
"""Seconds after which a program gives up."""


def needs(program: str, package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        shutil.which(program) is None, reason=f"needs the program {program} (Debian's package {package})"
    )


async def run(*command: str, stdin: bytes = b"") -> bytes:
    """What the program writes to its standard output. AssertionError, with its complaint, when it fails."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        output, complaint = await process.communicate(stdin)
    except BaseException:
        process.kill()
        raise
    assert process.returncode == 0, f"{command} exits with {process.returncode}: {(complaint or output).decode()}"
    return output


@needs("curl", "curl")
async def test_curl() -> None:
    file = octets(8 * MIB)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        assert request.startswith(b"GET /file HTTP/1.0\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\nContent-Type: application/octet-stream\r\n\r\n")  # its end is the stream's
        writer.write(file)
        writer.close()

    async with Wire(trace=False) as wire:
        await wire.endpoint.start_server(answer, 80)
        output = await run("curl", "-sS", "--http1.0", "--noproxy", "*", "-m", PATIENCE, f"http://{wire.host}/file")
        assert digest(output) == digest(file)


@needs("nc", "netcat-openbsd")
async def test_nc_half_closes_and_gets_the_answer() -> None:
    question = octets(MIB)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received = await reader.read()
        writer.write(f"{digest(received)} of {len(received)}".encode())
        writer.close()

    async with Wire(trace=False) as wire:
        await wire.endpoint.start_server(answer, PORT)
        output = await run("nc", "-N", "-w", PATIENCE, wire.host, str(PORT), stdin=question)
        assert output.decode() == f"{digest(question)} of {MIB}"


@needs("nc", "netcat-openbsd")
async def test_nc_listens_and_half_closes() -> None:
    there, back = octets(MIB, 1), octets(MIB, 2)
    async with Wire(trace=False) as wire:
        nc = asyncio.ensure_future(run("nc", "-N", "-w", PATIENCE, "-l", KERNEL, str(PORT), stdin=back))
        await until(lambda: kernel.listens(PORT))
        reader, writer = await wire.endpoint.open_connection(KERNEL, PORT)
        assert digest(await reader.read()) == digest(back)
        writer.write(there)  # not earlier: a listening nc that has read to the end stops sending
        writer.close()
        assert digest(await nc) == digest(there)


@needs("iperf3", "iperf3")
@pytest.mark.parametrize("options", [(), ("--reverse",)], ids=["upload", "download"])
async def test_iperf3_through_a_relay(options: tuple[str, ...]) -> None:
    """Client and server are the kernel's; between them two connections of utcp's, each way of each stream."""

    async def copy(reader: asyncio.StreamReader, writer: StreamWriter | asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 18):
            writer.write(data)
            await writer.drain()
        writer.write_eof()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await wire.endpoint.open_connection(KERNEL, PORT)
        with suppress(ConnectionError):  # when time is up iperf3 closes with data unread
            await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer))
        writer.close()
        far_writer.close()

    async with Wire(trace=False) as wire:
        server = asyncio.ensure_future(run("iperf3", "-s", "-1", "-B", KERNEL, "-p", str(PORT)))
        await until(lambda: kernel.listens(PORT))
        await wire.endpoint.start_server(relay, PORT)
        command = ("iperf3", "-c", wire.host, "-p", str(PORT), "-n", "16M", "-P", "2", "--json", *options)
        report = json.loads(await run(*command))
        await server
        assert report["end"]["sum_sent"]["bytes"] >= 16 * MIB
        # The exchange ends when all is sent: what is on its way then, also in the relay's buffers, is not counted.
        assert report["end"]["sum_received"]["bytes"] > 4 * MIB
