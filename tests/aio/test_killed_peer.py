"""Processes that end, by SIGKILL or by themselves: what their peers on the same host notice, and how soon."""

import asyncio
import subprocess
import sys
import time

import pytest
import uvloop

import utcp
from tests.udp.sockets import needs_linux

pytestmark = [needs_linux, pytest.mark.defect(100)]

SERVER = """
import asyncio, utcp

async def hold(reader, writer):
    writer.write(await reader.readexactly(1))
    await asyncio.Event().wait()

async def main():
    server = await utcp.start_server(hold, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

utcp.run(main())
"""


def test_clients_know_whether_they_only_read_or_have_written() -> None:
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as process:  # noqa: S603

        async def main() -> list[float]:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            streams = [await utcp.open_connection("127.0.0.1", port) for _ in range(2)]
            for reader, writer in streams:
                writer.write(b"?")
                assert await reader.readexactly(1) == b"?"
            await asyncio.sleep(0.1)  # all is acknowledged
            process.kill()
            process.wait()
            killed = time.monotonic()
            streams[0][1].write(b"a request")  # the other one only reads

            async def until_reset(reader: asyncio.StreamReader) -> float:
                with pytest.raises(ConnectionResetError, match="UDP port is closed"):
                    await reader.read()
                return time.monotonic() - killed

            async with asyncio.timeout(20):
                return await asyncio.gather(*(until_reset(reader) for reader, _ in streams))

        after_writing, reading = utcp.run(main(), loop_factory=uvloop.new_event_loop)
        assert 1.0 < after_writing < 2.0
        assert 0.9 < reading < 2.0


CLIENT = """
import sys, utcp

async def main():
    _, writer = await utcp.open_connection("127.0.0.1", int(sys.argv[1]))
    writer.write(b"all there is")
    writer.close()
    await writer.wait_closed()

utcp.run(main())
"""


@pytest.mark.defect(102)
def test_server_that_closes_after_its_client_has_gone_has_no_error() -> None:
    async def main() -> tuple[bytes, float]:
        outcome: asyncio.Future[tuple[bytes, float]] = asyncio.get_running_loop().create_future()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                data = await reader.read()
                await process.wait()
                began = time.monotonic()
                writer.close()
                await writer.wait_closed()
                outcome.set_result((data, time.monotonic() - began))
            except OSError as error:
                outcome.set_exception(error)

        server = await utcp.start_server(serve, "127.0.0.1", 0)
        port = str(server.sockets[0].getsockname()[1])
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", CLIENT, port)
        async with asyncio.timeout(20):
            return await outcome

    data, seconds = utcp.run(main())
    assert data == b"all there is"
    assert seconds < 2.0
