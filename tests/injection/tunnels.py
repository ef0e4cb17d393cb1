"""Both ends of a tunnel with TLS, in real time; each method of the loop, and what carries octets on, is a site."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from typing import Any, Final
from unittest import mock

from tests.injection.faults import Fault, Faults, watch_loop
from tests.tunnel.ends import Tunnel, is_reset, rest, send, tunnel
from utcp.aio.tls.transport import TlsTransport
from utcp.tunnel.pump import Side

SIZE: Final = 40_000
TEXT: Final = (os.urandom(SIZE), os.urandom(SIZE))
"""What each of two users writes, and reads again."""

_CARRIERS: Final = (
    (Side, "data_received"),
    (Side, "eof_received"),
    (TlsTransport, "data_received"),
    (TlsTransport, "eof_received"),
    (TlsTransport, "write"),
    (TlsTransport, "write_eof"),
)


class Run:
    """One run of the program: two users write, half-close, and read what the service sends back."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.reported: list[Any] = []
        self.logged: list[str] = []
        self.outcomes: list[bytes | None] = []
        """What each user has read; None: it was reset."""

    async def play(self) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self.reported.append(context.get("exception")))
        handler = logging.Handler(logging.WARNING)
        handler.emit = lambda record: self.logged.append(record.getMessage())  # type: ignore[method-assign]
        log = logging.getLogger("utcp.tunnel")
        log.addHandler(handler)
        try:
            async with tunnel(secure=True) as pipe:
                with contextlib.ExitStack() as stack:
                    stack.enter_context(watch_loop(loop, self.faults))
                    for owner, method in _CARRIERS:
                        stack.enter_context(mock.patch.object(owner, method, self._site(owner, method)))
                    serving = asyncio.create_task(self._serve(pipe))
                    self.outcomes = await asyncio.gather(*(self._talk(pipe, text) for text in TEXT))
                    serving.cancel()
        finally:
            log.removeHandler(handler)

    def _site(self, owner: type[Any], method: str) -> Any:
        real, faults = getattr(owner, method), self.faults

        def called(self: Any, *arguments: Any) -> Any:
            faults.passes(f"{owner.__name__}.{method}")
            return real(self, *arguments)

        return called

    async def _talk(self, pipe: Tunnel, text: bytes) -> bytes | None:
        user = await pipe.connect()
        try:
            await send(user, text)
            user.shutdown(1)
            return await rest(user)
        except ConnectionError:
            return None
        finally:
            user.close()

    async def _serve(self, pipe: Tunnel) -> None:
        """Send back what comes, each time that a user has finished."""

        async def echo(connection: Any) -> None:
            try:
                data = await rest(connection)
                await send(connection, data)
                connection.shutdown(1)
                await is_reset(connection)
            except ConnectionError:
                pass
            finally:
                connection.close()

        echoes = set()
        while True:
            echoes.add(asyncio.create_task(echo(await pipe.service.accept())))

    def check(self) -> None:
        """One user is harmed at most, and is reset. An OSError may cost an attempt to connect, which is made again."""
        error = self.faults.error
        broken = [outcome for outcome, text in zip(self.outcomes, TEXT, strict=True) if outcome != text]
        state = f"{self.faults.fault}: {len(broken)} broken, {self.reported}, {self.logged}"
        assert len(broken) <= (error is not None), state
        assert all(outcome is None for outcome in broken), f"it ended as if all were well: {state}"
        assert all(reported is error for reported in self.reported), state
        assert len(self.reported) <= 1, state
        if error is not None and not isinstance(error, OSError):
            assert self.reported or self.logged, f"nobody is told: {state}"


async def play(fault: Fault | None) -> Run:
    run = Run(Faults(fault))
    await run.play()
    run.check()
    return run
