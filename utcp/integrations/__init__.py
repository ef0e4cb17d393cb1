"""Adapters that run other libraries over utcp. Each module is named after its library."""

from typing import TYPE_CHECKING

from utcp.extras import submodules

if not TYPE_CHECKING:  # a type checker would take any name for an attribute
    __getattr__ = submodules(__name__, ("aiohttp", "anyio", "asyncssh", "httpx", "uvicorn"))
