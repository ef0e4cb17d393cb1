"""An aiohttp server over utcp: a page, a file, and a WebSocket that says everything back. Until Ctrl-C or SIGTERM.

Requires pip install 'aioutcp[integrations]'

    python examples/aiohttp_server.py [--host 127.0.0.1] [--port 8080]

Then, in another terminal, run aiohttp_client.py.
"""

import argparse
import asyncio
import sys

import utcp
from utcp.integrations.aiohttp import UtcpSite

from aiohttp import web


async def page(request: web.Request) -> web.Response:
    return web.Response(text=f"hello {request.remote}")


async def source(_: web.Request) -> web.FileResponse:
    return web.FileResponse(__file__)


async def echo(request: web.Request) -> web.WebSocketResponse:
    websocket = web.WebSocketResponse()
    await websocket.prepare(request)
    async for message in websocket:
        await websocket.send_str(message.data)
    return websocket


async def main(host: str, port: int) -> None:
    application = web.Application()
    application.add_routes([web.get("/", page), web.get("/source", source), web.get("/echo", echo)])
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        site = UtcpSite(runner, host, port)
        await site.start()
        print(f"serving {site.name}")
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="An aiohttp server over utcp.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    arguments = parser.parse_args()
    try:
        utcp.run(main(arguments.host, arguments.port))
    except (OSError, OverflowError, UnicodeError) as error:  # the last two: such a port, or such a host, cannot exist
        sys.exit(f"aiohttp_server: {error}")
    except KeyboardInterrupt:
        print("stopped")
