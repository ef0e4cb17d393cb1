"""One connection over real UDP, recorded as a ladder and checked: `utcp demo` without a scene."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import utcp
from utcp.scenes.stage import ACTIVE, PASSIVE, Moments, state_names
from utcp.tcp.observer import Tee
from utcp.tcp.state import CLOSED
from utcp.trace.ladder import Arrow, LadderRecorder, Rung
from utcp.trace.ladder.rungs import ENDS
from utcp.wire import FIN, RST, SYN

QUESTION: Final = b"Is this a real TCP?\n"
FAREWELLS: Final = (b"You have finished, I have not. ", b"Now I have.\n")

PAUSE: Final = 0.1
"""Seconds between two phases, longer than the delay of an ACK, so that the phases' segments do not mix."""

PATIENCE: Final = 10.0
"""Seconds, in addition to 2 MSL, after which the demo is aborted."""


@dataclass(slots=True)
class Outcome:
    """The result, complete or not. `msl` and times are in seconds, and paths in the format of `state_names`."""

    msl: float
    client_path: str = ""
    server_path: str = ""
    client_heard: bytes = b""
    server_heard: bytes = b""
    time_wait: float | None = None
    """Seconds that the client was in TIME_WAIT; None if it has not ended."""
    rungs: list[Rung] = field(default_factory=list)

    def arrows(self) -> list[Arrow]:
        """Return the segments in the order of sending."""
        return [rung.arrow for rung in self.rungs if rung.arrow is not None]


async def converse(
    host: str, port: int, outcome: Outcome, tell: Callable[[str], None], progress: Callable[[float], None]
) -> None:
    """Run both ends, and store the result in `outcome`, even if an error occurs.

    Args:
        host: the address of both ends.
        port: the UDP port of the server; 0: one that the system chooses.
        outcome: the result.
        tell: called with a line of text once the endpoints are open.
        progress: called each second of TIME_WAIT with the seconds that are left, and with 0 at its end.

    Raises OSError if an operation fails.
    """
    recorder = LadderRecorder()
    moments = Moments()
    config = utcp.Config(msl=outcome.msl)
    try:
        async with (
            asyncio.timeout(PATIENCE + 2 * outcome.msl),
            utcp.Endpoint((host, port), config=config, observer=recorder.server) as server_end,
            utcp.Endpoint((host, 0), config=config, observer=Tee(recorder.client, moments)) as client_end,
        ):
            server_port = server_end.address[1]
            tell(f"TCP over UDP: {host}, port {server_port}, 2 MSL = {2 * outcome.msl:g} s\n")

            def note(text: str) -> None:
                recorder.note(text, client_end.link.now())

            async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                outcome.server_heard = await reader.readline()
                writer.write(outcome.server_heard)
                outcome.server_heard += await reader.read()
                for farewell in FAREWELLS:
                    await asyncio.sleep(PAUSE)
                    writer.write(farewell)
                await asyncio.sleep(PAUSE)
                note("The server closes too. When its FIN is acknowledged, it deletes the connection.")
                writer.close()
                await writer.wait_closed()

            async with await server_end.start_server(serve, server_port):
                note("Handshake: each end sends its initial sequence number.")
                reader, writer = await client_end.open_connection(host, server_port)
                await asyncio.sleep(PAUSE)
                note("Echo: the answer acknowledges the question. The ACK of the answer is delayed.")
                writer.write(QUESTION)
                outcome.client_heard = await reader.readline()
                await asyncio.sleep(PAUSE)
                note("Half-close: the client's FIN ends its data. The client continues to read.")
                writer.write_eof()
                outcome.client_heard += await reader.read()
                writer.close()
                await writer.wait_closed()
                await asyncio.sleep(PAUSE)
                note("TIME_WAIT: the client keeps the ports for 2 MSL, because its last ACK may be lost.")
                await _until_closed(moments, 2 * outcome.msl, progress)
    except TimeoutError as error:
        if str(error):  # from the connection; its text names the phase
            raise
        raise TimeoutError(f"the demo did not end within {PATIENCE + 2 * outcome.msl:g} s") from None
    finally:
        outcome.client_path = state_names(recorder.path("client"))
        outcome.server_path = state_names(recorder.path("server"))
        outcome.time_wait = moments.time_wait
        outcome.rungs = recorder.rungs()


async def _until_closed(moments: Moments, seconds: float, progress: Callable[[float], None]) -> None:
    """Wait for the end of TIME_WAIT, which has begun and lasts for `seconds`."""
    if moments.at(CLOSED) is not None:
        return
    loop = asyncio.get_running_loop()
    due = loop.time() + seconds
    closed = loop.create_task(moments.next(CLOSED))
    try:
        while not closed.done():
            progress(max(due - loop.time(), 0.001))
            await asyncio.wait([closed], timeout=1)
    finally:
        closed.cancel()
        progress(0)


def differences(outcome: Outcome) -> list[str]:
    """Return the differences from the expected result, one line each.

    Retransmissions are no difference, because correct TCP has them on a busy machine.
    """
    found = []

    def expect(what: str, actual: object, expected: object) -> None:
        if actual != expected:
            found.append(f"{what}: {actual}, not {expected}")

    expect("states of the client", outcome.client_path, ACTIVE)
    expect("states of the server", outcome.server_path, PASSIVE)
    expect("the server read", outcome.server_heard, QUESTION)
    expect("the client read", outcome.client_heard, QUESTION + b"".join(FAREWELLS))

    fresh = [arrow for arrow in outcome.arrows() if not arrow.retransmission]
    expect("senders of a SYN", [arrow.sender for arrow in fresh if arrow.flags & SYN], ["client", "server"])
    expect("senders of a FIN", [arrow.sender for arrow in fresh if arrow.flags & FIN], ["client", "server"])
    expect("segments with RST", sum(1 for arrow in fresh if arrow.flags & RST), 0)
    after_fin = fresh[next((i for i, arrow in enumerate(fresh) if arrow.flags & FIN), len(fresh)) :]
    expect(
        "bytes that the server sent after the client's FIN",
        sum(arrow.length for arrow in after_fin if arrow.sender == "server"),
        sum(map(len, FAREWELLS)),
    )
    if outcome.time_wait is not None and outcome.time_wait < 2 * outcome.msl - 0.001:  # tolerance for rounding
        found.append(f"TIME_WAIT: {outcome.time_wait} s, less than 2 MSL")
    return found


def summary(outcome: Outcome) -> str:
    """Return one summary for each end, and the duration of TIME_WAIT."""
    lines = []
    for end, path in zip(ENDS, (outcome.client_path, outcome.server_path), strict=True):
        sent = [arrow for arrow in outcome.arrows() if arrow.sender == end]
        again = sum(1 for arrow in sent if arrow.retransmission)
        octets = sum(arrow.length for arrow in sent if not arrow.retransmission)
        lines += [f"{end}: {path}", f"        {len(sent)} segments ({again} retransmitted), {octets} bytes"]
    if outcome.time_wait is not None:
        lines.append(f"TIME_WAIT lasted {outcome.time_wait:.3f} s; 2 MSL are {2 * outcome.msl:.3f} s")
    return "\n".join(lines)
