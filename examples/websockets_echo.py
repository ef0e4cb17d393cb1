"""websockets over utcp, unmodified, by an event loop that selects the transport of its connections.

Requires pip install 'aioutcp[integrations]'

    python examples/websockets_echo.py [--port 9000]

`utcp.loop_factory()` creates an event loop that uses utcp for connections to the addresses of `route`, and kernel TCP
for all others. Thus the library needs no adapter, and the application's other connections are not affected. `uvicorn
--loop MODULE:FACTORY` accepts such a factory too.
"""

import argparse
import sys

import utcp

try:
    from websockets.asyncio.client import connect
    from websockets.asyncio.server import ServerConnection, serve
except ModuleNotFoundError as error:
    sys.exit(f"websockets_echo: {error}: pip install 'aioutcp[integrations]'")

HOST = "127.0.0.1"


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def main(port: int) -> None:
    async with serve(echo, HOST, port), connect(f"ws://{HOST}:{port}", proxy=None) as client:
        for message in ("hello", "and goodbye"):
            await client.send(message)
            print(f"said {message!r}, heard {await client.recv()!r}")
        info = client.transport.get_extra_info("utcp")
        print(f"utcp, {info.state}: {info.bytes_sent} bytes sent, {info.bytes_received} received")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="websockets over utcp.")
    parser.add_argument("--port", type=int, default=9000)
    port = parser.parse_args().port
    if not 0 < port < 65536:  # 0, a port that the system chooses, cannot be routed
        parser.error(f"argument --port: must be 1 to 65535, not {port}")
    factory = utcp.loop_factory(route=[(HOST, port)])  # for uvloop: loop_factory(uvloop.Loop, route=...)
    try:
        utcp.run(main(port), loop_factory=factory)
    except OSError as error:
        sys.exit(f"websockets_echo: {error}")
