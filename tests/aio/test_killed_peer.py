"""A server process is killed (SIGKILL): clients on the same host know of it within two seconds."""

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
