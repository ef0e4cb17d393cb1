"""Other user-space transports over UDP for asyncio, behind the interface of `bench.stacks`: QUIC and KCP.

The bench extra installs them. Each module describes how its transport is adapted to the measurements of a TCP: a
connection is opened, used and closed completely, with one stream.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from importlib import import_module
from importlib.util import find_spec
from typing import Final

from utcp.extras import not_installed

from .stacks import STACKS, Address, App, Client, Server, Setting, Stack


def _stack(package: str, module: str) -> Stack:
    """Return the Stack in `module`, which needs `package` and is imported on first use."""

    def serve(app: App, setting: Setting) -> AbstractAsyncContextManager[Server]:
        serve: Callable[[App, Setting], AbstractAsyncContextManager[Server]] = import_module(
            f".{module}", __package__
        ).serve
        return serve(app, setting)

    def dial(address: Address, setting: Setting) -> AbstractAsyncContextManager[Client]:
        dial: Callable[[Address, Setting], AbstractAsyncContextManager[Client]] = import_module(
            f".{module}", __package__
        ).dial
        return dial(address, setting)

    def missing() -> str | None:
        return not_installed(package, "bench") if find_spec(package) is None else None

    return Stack(serve, dial, missing)


PEERS: Final = {"aioquic": _stack("aioquic", "quic_peer"), "aiokcp": _stack("aiokcp", "kcp_peer")}
"""Further stacks that some benches measure, if installed."""


def find(name: str) -> Stack:
    """Return the Stack of that name."""
    return STACKS.get(name) or PEERS[name]
