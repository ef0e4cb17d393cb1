"""A server's handler that fails is what a measurement failed of, not the time that it then takes."""

import asyncio
import errno
import importlib.util

import pytest

from bench import loops
from bench.frame import Figures, Trial
from bench.stacks import STACKS, ProtocolApp, StreamApp
from bench.trouble import CallbackFailed, Guard, exception_handler


class Failing(StreamApp):
    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(3)
        raise ValueError("this is\nthe cause")

    async def all_served(self) -> None:
        await asyncio.Event().wait()


class Breaking(ProtocolApp):
    def protocol(self) -> asyncio.Protocol:
        return _Broken()


class _Broken(asyncio.Protocol):
    def data_received(self, data: bytes) -> None:
        raise ValueError("this is\nthe cause")


async def _asking(trial: Trial) -> Figures:
    async with trial.ends(Failing, connections=1) as ends:
        _, writer = await ends.connect()
        try:
            writer.write(b"abc")
            await ends.ask("all_served")
        finally:
            writer.close()
    return {}


async def _reading(trial: Trial) -> Figures:
    async with trial.ends(Failing, connections=1) as ends:
        _, writer = await ends.connect()
        try:
            writer.write(b"abc")
            await asyncio.Event().wait()
        finally:
            writer.close()
    return {}


async def _with_protocols(trial: Trial) -> Figures:
    async with trial.ends(Breaking, connections=1) as ends:
        _, writer = await ends.connect()
        try:
            writer.write(b"abc")
            await asyncio.Event().wait()
        finally:
            writer.close()
    return {}


@pytest.mark.parametrize("main", [_asking, _reading, _with_protocols])
@pytest.mark.parametrize(("processes", "loop"), [*((1, loop) for loop in loops.LOOPS), (2, "asyncio")])
@pytest.mark.parametrize("stack", STACKS)
def test_the_cause_is_told(main: object, loop: str, processes: int, stack: str) -> None:
    trial = Trial(stack, loop, processes, {}, 1)
    with pytest.raises(CallbackFailed) as caught:
        trial.run(main)  # type: ignore[arg-type]
    assert "ValueError: this is the cause" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(
    importlib.util.find_spec("aioquic") is None, reason="aioquic is not installed: the bench extra has it"
)
def test_the_cause_is_told_of_a_peer() -> None:
    with pytest.raises(CallbackFailed, match="ValueError: this is the cause"):
        Trial("aioquic", "asyncio", 1, {}, 1).run(_asking)


def test_what_nobody_raised_is_left_to_the_loop(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        async with Guard():
            loop.call_exception_handler({"message": "only a word"})
            await asyncio.sleep(0)
        assert loop.get_exception_handler() is None

    asyncio.run(run())
    assert "only a word" in caplog.text


def test_an_error_of_the_measurement_itself_stays_what_it_is() -> None:
    async def fail(_: Trial) -> Figures:
        raise KeyError("own")

    with pytest.raises(KeyError, match="own"):
        Trial("utcp", "asyncio", 1, {}, 1).run(fail)


def test_a_half_close_that_finds_the_peer_gone_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    """asyncio's own transport lets it out into the loop; that the connection is lost is told as well."""
    told: list[CallbackFailed] = []
    loop = asyncio.new_event_loop()
    handle = exception_handler(told.append)
    try:
        for error in (OSError(errno.ENOTCONN, "Transport endpoint is not connected"), OSError(errno.EIO, "failed")):
            handle(loop, {"message": "Exception in callback None()", "exception": error})
    finally:
        loop.close()
    assert [str(each) for each in told] == ["Exception in callback None(): OSError: [Errno 5] failed"]
    assert caplog.text == ""
