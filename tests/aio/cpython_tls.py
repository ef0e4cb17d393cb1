"""CPython's own tests of asyncio's TLS, with utcp's TLS in its place: `python -m tests.aio.cpython_tls`.

They connect over kernel TCP, to threads with blocking sockets. Tests of asyncio's private members are left out. Needs
the `test` package of CPython, which some distributions leave out.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
import unittest
from asyncio import sslproto
from typing import Any

from utcp.aio.tls.options import TlsOptions, settles
from utcp.aio.tls.transport import TlsTransport

TESTS = [
    "test.test_asyncio.test_ssl",
    "test.test_asyncio.test_sslproto.SelectorStartTLSTests",
    "test.test_asyncio.test_sendfile.EPollEventLoopTests",
]


class Replacement:
    """Called as asyncio calls SSLProtocol; makes a TlsTransport."""

    made = 0

    def __new__(  # type: ignore[misc]  # it returns another class
        cls,
        loop: asyncio.AbstractEventLoop,
        app_protocol: asyncio.BaseProtocol,
        sslcontext: ssl.SSLContext | None,
        waiter: asyncio.Future[None] | None,
        server_side: bool = False,
        server_hostname: str | None = None,
        *,
        call_connection_made: bool = True,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> TlsTransport:
        cls.made += 1
        options = TlsOptions(
            sslcontext,
            server_side=server_side,
            server_hostname=server_hostname,
            handshake_timeout=ssl_handshake_timeout,
            shutdown_timeout=ssl_shutdown_timeout,
        )
        ended = None if waiter is None else settles(waiter)
        return options.transport(app_protocol, ended, upgrade=not call_connection_made)


def append_to_backlog(self: Any, data: bytes) -> None:
    self._machine._backlog.append(memoryview(data))
    self._machine.backlog_size += len(data)


def main() -> int:
    members: Any = TlsTransport
    members._app_transport = members._ssl_protocol = property(lambda self: self)
    members._test__append_write_backlog = append_to_backlog
    sslproto.SSLProtocol = Replacement  # type: ignore[assignment, misc]  # that is the purpose
    suite = unittest.defaultTestLoader.loadTestsFromNames(TESTS)
    result = unittest.TextTestRunner().run(suite)
    sys.stderr.write(f"{Replacement.made} TLS connections were utcp's\n")
    return 0 if result.wasSuccessful() and Replacement.made else 1


if __name__ == "__main__":
    sys.exit(main())
