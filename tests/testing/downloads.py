"""A server and a client with aiohttp, which know neither utcp nor the simulation."""

import asyncio

import aiohttp
from aiohttp import web

SIZE = 300_000


async def download(_: web.Request) -> web.Response:
    return web.Response(body=bytes(SIZE), headers={"Server": "downloads"})


async def serve(host: str, port: int) -> None:
    application = web.Application()
    application.add_routes([web.get("/download", download)])
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    await asyncio.Event().wait()


async def fetch(host: str, port: int) -> int:
    """Return the size of the body. It should be SIZE."""
    headers = {"User-Agent": "downloads", "Accept-Encoding": "identity"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.get(f"http://{host}:{port}/download") as answer,
    ):
        return len(await answer.read())


async def both(port: int) -> int:
    """Serve and fetch on one host."""
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(serve("127.0.0.1", port))
        await asyncio.sleep(0.1)
        size = await fetch("127.0.0.1", port)
        serving.cancel()
    return size
