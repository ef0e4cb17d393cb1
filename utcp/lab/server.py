"""The server of the laboratory, on this machine only: uvicorn, which serves one pure function (`respond`).

It answers only requests whose Host is this machine, so that no other site can read it through a name that points here
(DNS rebinding).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from utcp.extras import needs_extra
from utcp.lab.respond import Response, respond

HOST: Final = "127.0.0.1"

_HOSTS: Final = (HOST, "localhost")

_POLICY: Final = (
    b"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:;"
    b" base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_HEADERS: Final = (
    (b"content-security-policy", _POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)

_Send = Callable[[dict[str, Any]], Awaitable[None]]


def bind(port: int = 0) -> socket.socket:
    """Return a listening socket on this machine; port 0: a free one. Raises OSError."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((HOST, port))
        listening.listen(128)
    except OSError:
        listening.close()
        raise
    return listening


def serve(listening: socket.socket, shown: Mapping[str, object] | None = None) -> None:
    """Serve the laboratory until SIGINT or SIGTERM. `shown` is that of `respond`.

    Raises ModuleNotFoundError if the extra `lab` is not installed.
    """
    with needs_extra("lab"):
        import uvicorn

    config = uvicorn.Config(
        application(shown), log_level="critical", access_log=False, lifespan="off", server_header=False, ws="none"
    )
    uvicorn.Server(config).run(sockets=[listening])


def application(shown: Mapping[str, object] | None = None) -> Callable[..., Awaitable[None]]:
    """Return the laboratory as an ASGI application."""

    async def answer(scope: dict[str, Any], receive: object, send: _Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        response = _refusal(scope)
        if response is None:
            target = scope["raw_path"].decode("ascii", "replace")
            query = scope["query_string"].decode("ascii", "replace")
            # A simulation takes milliseconds, the largest ones a second. Other requests need not wait for it.
            response = await asyncio.to_thread(respond, f"{target}?{query}", shown)
        headers = [
            (b"content-type", response.content_type.encode()),
            (b"content-length", str(len(response.body)).encode()),
            *_HEADERS,
        ]
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        body = b"" if scope["method"] == "HEAD" else response.body
        await send({"type": "http.response.body", "body": body})

    return answer


def _refusal(scope: Mapping[str, Any]) -> Response | None:
    """Return the response to a request that is not for this machine, or not a GET."""
    hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
    if len(hosts) != 1 or hosts[0].rpartition(":")[0 if ":" in hosts[0] else 2] not in _HOSTS:
        return Response(400, "text/plain; charset=utf-8", b"This server is for this machine only.\n")
    if scope["method"] not in ("GET", "HEAD"):
        return Response(405, "text/plain; charset=utf-8", b"This server answers GET only.\n")
    return None
