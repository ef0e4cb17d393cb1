"""Somebody who comes in the very moment in which an end is stopped."""

import asyncio

from tests.tunnel.ends import LOCAL, PLAIN
from utcp.tunnel.forward import Serve
from utcp.tunnel.pump import Side


class Aborted(asyncio.Transport):
    aborted = False

    def abort(self) -> None:
        self.aborted = True


class Waiting(Serve):
    async def _other_side(self, user: Side) -> Side:
        await asyncio.sleep(1000)
        raise AssertionError


async def test_who_is_heard_of_after_the_end_is_reset() -> None:
    """A TLS handshake may be completed after the last look at what is open."""
    end = Waiting((LOCAL, 0), (LOCAL, 9), PLAIN)
    await end.start()
    await end.stop(0)
    transport = Aborted({"peername": (LOCAL, 1024)})
    side = Side()
    side.connection_made(transport)
    end.accepted(side)
    async with asyncio.timeout(60):
        await end._idle.wait()
    assert transport.aborted
    assert not end.connections
