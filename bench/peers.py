"""Other transports for asyncio in user space over UDP, behind the interface of `bench.stacks`: QUIC and KCP.

They come with the bench extra. Each is made to do what the measurements ask of a TCP, as its module says: a connection
is opened, used and closed for good, one stream over each.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from importlib import import_module
from importlib.util import find_spec
from typing import Final

from utcp.extras import not_installed

from .stacks import Address, App, Client, Server, Setting, Stack


def _stack(package: str, module: str) -> Stack:
    """The Stack in `module`, which is imported when it is used: it needs `package`."""

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
