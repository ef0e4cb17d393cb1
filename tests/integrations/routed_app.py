"""What `uvicorn tests.integrations.routed_app:app --loop tests.integrations.routed_app:factory` serves over utcp."""

import asyncio
from typing import Any

import uvloop

import utcp

ROUTE: list[tuple[str | None, int | None]] = [("127.0.0.1", None)]

on_asyncio = utcp.loop_factory(asyncio.SelectorEventLoop, route=ROUTE)
on_uvloop = utcp.loop_factory(uvloop.Loop, route=ROUTE)


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Says where the request came from; knows of no other protocol than HTTP."""
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    loop = type(asyncio.get_running_loop()).__mro__[2]
    headers = [(b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": f"{loop.__module__} {scope['client'][1]}\n".encode()})
