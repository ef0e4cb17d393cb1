"""Log events of applications that configure only the standard library's logging, or nothing."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import utcp
from tests.ports import free_port
from tests.trace.test_log import REMOTE, documented, stub
from utcp import errors
from utcp.tcp.state import ESTABLISHED, SYN_SENT
from utcp.trace import default_observer, log_event
from utcp.trace.log import StandardObserver

SOURCE = Path(utcp.__file__).parents[1]


class Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def lines(self) -> list[tuple[str, str]]:
        return [(record.levelname, record.getMessage()) for record in self.records]


@pytest.fixture
def records() -> Iterator[Records]:
    """What an application sees that sets the level and the handler of the logger `utcp`."""
    handler = Records()
    logger = logging.getLogger("utcp")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


def at(level: int) -> StandardObserver:
    logging.getLogger("utcp").setLevel(level)
    observer = default_observer()
    assert isinstance(observer, StandardObserver)
    return observer


def test_a_record_is_a_line_of_text_with_the_keys_as_attributes(records: Records) -> None:
    observer = at(logging.INFO)
    observer.state_changed(stub(), SYN_SENT, ESTABLISHED, 2.0)
    observer.connection_ended(stub(error=errors.ConnectionReset('by "peer"')), 3.5)
    ports = "remote=192.0.2.7:9000 remote_port=80 local_port=50000"
    end = "path=CLOSED,SYN_SENT,CLOSED bytes_sent=300 bytes_acked=200 bytes_received=100 duration=2.5"
    assert records.lines() == [
        ("INFO", f"utcp.connection_opened {ports} active=True"),
        ("WARNING", rf'utcp.connection_reset {ports} {end} error="[Errno 104] by \"peer\""'),
    ]
    [_, reset] = records.records
    assert (reset.name, reset.__dict__["event"], reset.__dict__["bytes_sent"]) == ("utcp", "utcp.connection_reset", 300)


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (logging.DEBUG, ["utcp.connection_opened", "utcp.state_changed", "utcp.connection_closed", "utcp.malformed"]),
        (logging.INFO, ["utcp.connection_opened", "utcp.connection_closed"]),
        (logging.WARNING, []),
    ],
)
def test_the_level_decides(records: Records, level: int, expected: list[str]) -> None:
    observer = at(level)
    assert observer.sees_routine == (level <= logging.INFO)
    observer.state_changed(stub(), SYN_SENT, ESTABLISHED, 2.0)
    observer.connection_ended(stub(), 3.5)
    observer.malformed(REMOTE, "rubbish", 4.0)
    log_event("utcp.endpoint_opened", address=("::1", 9000, 0, 0))
    events = [record.__dict__["event"] for record in records.records]
    assert events == expected + ["utcp.endpoint_opened"] * (level <= logging.INFO)


def test_a_level_that_rises_later_counts(records: Records) -> None:
    observer = at(logging.DEBUG)
    logging.getLogger("utcp").setLevel(logging.ERROR)
    observer.connection_ended(stub(error=errors.ConnectionReset()), 3.5)
    assert records.records == []


def test_a_logger_that_is_off_costs_no_observer(records: Records) -> None:
    logging.getLogger("utcp").setLevel(logging.ERROR)
    assert default_observer() is None
    log_event("utcp.endpoint_opened", address=("::1", 9000, 0, 0))


def test_no_key_is_the_name_of_an_attribute_of_log_records(records: Records) -> None:
    for event, (level, keys) in documented().items():
        at(logging.DEBUG).log(level, event, **dict.fromkeys(keys, "value"))
    assert [record.__dict__["event"] for record in records.records] == list(documented())


@pytest.mark.parametrize(
    ("value", "text"),
    [("", '""'), ("a b", '"a b"'), ("a=b", '"a=b"'), ("a\nutcp.forged x=1", r'"a\nutcp.forged x=1"'), (None, "None")],
)
def test_a_value_cannot_look_like_more_than_a_value(records: Records, value: object, text: str) -> None:
    at(logging.INFO).log("info", "utcp.event", key=value)
    assert records.lines() == [("INFO", f"utcp.event key={text}")]


def test_a_filter_that_fails_is_reported_once_in_a_row(caplog: pytest.LogCaptureFixture) -> None:
    def broken(record: logging.LogRecord) -> bool:
        raise RuntimeError("no filter today")

    observer = at(logging.WARNING)
    logger = logging.getLogger("utcp")
    logger.addFilter(broken)
    try:
        for _ in range(2):
            observer.connection_ended(stub(error=errors.ConnectionReset()), 3.5)
    finally:
        logger.removeFilter(broken)
        logger.setLevel(logging.NOTSET)
    assert [(record.name, record.getMessage()) for record in caplog.records] == [
        ("asyncio", "logging of utcp.connection_reset failed")
    ]
    assert "no filter today" in caplog.text


async def test_a_connection_is_logged(records: Records) -> None:
    logging.getLogger("utcp").setLevel(logging.INFO)
    server = await utcp.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    reader, writer = await utcp.open_connection(*server.sockets[0].getsockname())
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()
    events = [record.__dict__["event"] for record in records.records]
    assert events.count("utcp.connection_opened") == events.count("utcp.connection_closed") == 2


PROGRAM = """
import asyncio, logging, sys
import utcp

{configuration}

async def main():
    server = await utcp.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    reader, writer = await utcp.open_connection(host, port)
    await reader.read()
    writer.close()
    await writer.wait_closed()
    try:
        await utcp.open_connection(host, int(sys.argv[1]))
    except ConnectionRefusedError:
        pass
    observer = utcp.trace.default_observer()
    if observer is not None:
        observer.memory_pressed(60, 100, 0.0)

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("configuration", "levels"),
    [
        ("", set()),
        ("logging.basicConfig(format='%(message)s')", {"utcp.memory_pressure", "utcp.connection_refused"}),
        (
            "logging.basicConfig(level='INFO', format='%(message)s')",
            {
                "utcp.memory_pressure",
                "utcp.connection_refused",
                "utcp.connection_opened",
                "utcp.connection_closed",
                "utcp.endpoint_opened",
                "utcp.endpoint_closed",
            },
        ),
        ("logging.getLogger('utcp').addHandler(logging.NullHandler())", set()),
        ("logging.getLogger('utcp').setLevel('ERROR')", set()),
        ("import structlog", set()),
        ("import structlog; structlog.configure(logger_factory=structlog.ReturnLoggerFactory())", set()),
    ],
    ids=["nothing", "basicConfig", "info", "null", "error", "structlog as imported", "structlog"],
)
def test_what_each_configuration_shows_on_stderr(configuration: str, levels: set[str]) -> None:
    process = subprocess.run(  # noqa: S603  # our own interpreter and script
        [sys.executable, "-c", PROGRAM.format(configuration=configuration), str(free_port())],
        cwd=SOURCE,
        capture_output=True,
        text=True,
        check=True,
        timeout=200,
    )
    shown = {line.partition(" ")[0] for line in process.stderr.splitlines()}
    assert {line for line in shown if line.startswith("utcp.")} == levels


async def test_a_simulated_host_logs_too(records: Records) -> None:
    """A failing test of an application then shows what happened to its connections."""
    from utcp.testing import Network

    network = Network()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.to_thread(network.run, _refused(network))
    assert [level for level, _ in records.lines()] == ["WARNING"]


async def _refused(network: object) -> None:
    async with utcp.Endpoint(("127.0.0.1", 9000)):
        await utcp.open_connection("127.0.0.1", 9000)
