"""The log events: names, levels and keys are a promise to whoever filters on them."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import pytest
import structlog
from structlog.testing import LogCapture

from utcp import errors
from utcp.tcp.state import CLOSED, ESTABLISHED, SYN_RCVD, SYN_SENT
from utcp.trace import default_observer
from utcp.trace.log import StructlogObserver

if TYPE_CHECKING:
    from utcp.tcp.connection import Connection

REMOTE = ("192.0.2.7", 9000)
PORTS = {"remote": "192.0.2.7:9000", "remote_port": 80, "local_port": 50000}
END = {"path": ("CLOSED", "SYN_SENT", "CLOSED"), "bytes_sent": 300, "bytes_acked": 200, "bytes_received": 100}


@dataclass(frozen=True)
class StubInfo:
    """What the observer reads of a ConnectionInfo."""

    path: tuple[str, ...] = ("CLOSED", "SYN_SENT", "CLOSED")
    bytes_sent: int = 300
    bytes_acked: int = 200
    bytes_received: int = 100


@dataclass(frozen=True)
class StubConnection:
    """What the observer reads of a Connection."""

    error: OSError | None = None
    remote: object = REMOTE
    remote_port: int = 80
    local_port: int = 50000
    passive: bool = False
    opened_at: float = 1.0

    def info(self) -> StubInfo:
        return StubInfo()


def stub(**attributes: Any) -> Connection:
    return cast("Connection", StubConnection(**attributes))


@pytest.fixture(autouse=True)
def _structlog_defaults() -> Iterator[None]:
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


def configured(level: int = logging.DEBUG) -> tuple[StructlogObserver, list[Any]]:
    """An observer over a structlog that lets `level` and above through, and the list in which its events end up."""
    capture = LogCapture()
    structlog.configure(processors=[capture], wrapper_class=structlog.make_filtering_bound_logger(level))
    return StructlogObserver(), capture.entries


@pytest.mark.parametrize("passive", [False, True])
def test_a_connection_opens_and_closes(passive: bool) -> None:
    observer, events = configured(logging.INFO)
    connection = stub(passive=passive)
    observer.state_changed(connection, SYN_RCVD if passive else SYN_SENT, ESTABLISHED, 2.0)
    observer.connection_ended(connection, 3.5)
    assert events == [
        {"event": "utcp.connection_opened", "log_level": "info", **PORTS, "active": not passive},
        {"event": "utcp.connection_closed", "log_level": "info", **PORTS, **END, "duration": 2.5},
    ]


@pytest.mark.parametrize(
    ("error", "event"),
    [
        (errors.ConnectionRefused("no listener"), "utcp.connection_refused"),
        (errors.ConnectionReset("by peer"), "utcp.connection_reset"),
        (errors.ConnectionAborted("unread data"), "utcp.connection_aborted"),
        (errors.SynTimedOut("no answer"), "utcp.connection_timed_out"),
        (errors.FinTimedOut("no answer"), "utcp.connection_timed_out"),
        (errors.PathUnreachable(113), "utcp.connection_failed"),
    ],
)
def test_an_error_names_the_event(error: OSError, event: str) -> None:
    observer, events = configured(logging.INFO)
    observer.connection_ended(stub(error=error), 9.0)
    assert events == [
        {"event": event, "log_level": "warning", **PORTS, **END, "duration": 8.0, "error": str(error)},
    ]


def test_debug_events() -> None:
    observer, events = configured()
    connection = stub()
    observer.state_changed(connection, CLOSED, SYN_SENT, 1.0)
    observer.retransmitted(connection, 4000, 1, 2.0)
    observer.malformed(REMOTE, "shorter than a TCP header", 3.0)
    observer.time_wait_ended(REMOTE, 80, 50000, 4.0)
    assert events == [
        {"event": "utcp.state_changed", "log_level": "debug", **PORTS, "before": "CLOSED", "after": "SYN_SENT"},
        {"event": "utcp.retransmitted", "log_level": "debug", **PORTS, "seq": 4000, "length": 1},
        {
            "event": "utcp.malformed",
            "log_level": "debug",
            "remote": "192.0.2.7:9000",
            "reason": "shorter than a TCP header",
        },
        {"event": "utcp.time_wait_ended", "log_level": "debug", **PORTS},
    ]


@dataclass(frozen=True)
class WildcardRemote:
    peer: tuple[str, int, int, int] = ("2001:db8::1", 9000, 0, 0)
    local: str = "2001:db8::2"


@pytest.mark.parametrize(("remote", "text"), [(WildcardRemote(), "[2001:db8::1]:9000"), ("left", "left")])
def test_remotes_are_printed_as_addresses(remote: object, text: str) -> None:
    observer, events = configured()
    observer.connection_ended(stub(remote=remote), 1.0)
    assert events[0]["remote"] == text


@dataclass
class CountingLogger:
    """An application's own wrapper class whose level is info and which counts how often it is called at all."""

    calls: list[str] = field(default_factory=list)

    def is_enabled_for(self, level: int) -> bool:
        return level >= logging.INFO

    def bind(self) -> CountingLogger:
        return self

    def debug(self, event: str, **fields: object) -> None:
        self.calls.append(event)

    info = debug


@dataclass
class StandardCountingLogger(CountingLogger):
    """The same under the standard library's name, the only one that structlog.stdlib had before 26.1."""

    is_enabled_for = None  # type: ignore[assignment]  # not there

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802
        return level >= logging.INFO


@pytest.mark.parametrize("logger", [CountingLogger(), StandardCountingLogger()])
def test_unwanted_debug_events_do_not_even_reach_the_logger(
    logger: CountingLogger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(structlog, "get_logger", lambda *names: logger)
    observer = StructlogObserver()
    connection = stub()
    observer.state_changed(connection, CLOSED, SYN_SENT, 1.0)
    observer.state_changed(connection, SYN_SENT, ESTABLISHED, 1.5)
    observer.retransmitted(connection, 1, 1, 2.0)
    observer.malformed(REMOTE, "rubbish", 3.0)
    observer.time_wait_ended(REMOTE, 80, 50000, 4.0)
    assert logger.calls == ["utcp.connection_opened"]


def test_the_level_of_a_standard_library_logger_counts() -> None:
    capture = LogCapture()
    structlog.configure(
        processors=[capture],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    standard = logging.getLogger("utcp")
    for level, expected in ((logging.INFO, 0), (logging.DEBUG, 1)):
        standard.setLevel(level)
        StructlogObserver().malformed(REMOTE, "rubbish", 3.0)
        assert len(capture.entries) == expected
    standard.setLevel(logging.NOTSET)


def test_a_logger_without_levels_gets_everything() -> None:
    capture = LogCapture()
    structlog.configure(processors=[capture], wrapper_class=structlog.BoundLogger)
    StructlogObserver().malformed(REMOTE, "rubbish", 3.0)
    assert [entry["event"] for entry in capture.entries] == ["utcp.malformed"]


def test_a_failing_processor_is_reported_once_in_a_row_and_harms_nothing(caplog: pytest.LogCaptureFixture) -> None:
    broken = True
    delivered = []

    def processor(logger: object, method: str, event: Any) -> Any:
        if broken:
            raise RuntimeError("the disk is full")
        delivered.append(event["event"])
        raise structlog.DropEvent

    structlog.configure(processors=[processor])
    observer = StructlogObserver()
    observer.malformed(REMOTE, "one", 1.0)
    observer.malformed(REMOTE, "two", 2.0)
    assert [(record.name, record.levelname, record.getMessage()) for record in caplog.records] == [
        ("utcp", "ERROR", "a structlog processor failed on utcp.malformed")
    ]
    assert "RuntimeError: the disk is full" in caplog.text
    broken = False
    observer.malformed(REMOTE, "three", 3.0)
    assert delivered == ["utcp.malformed"]
    broken = True
    observer.malformed(REMOTE, "four", 4.0)
    assert len(caplog.records) == 2


def test_default_observer_follows_the_application() -> None:
    assert default_observer() is None, "structlog is imported here, but not configured"
    structlog.configure()
    assert isinstance(default_observer(), StructlogObserver)


def test_importing_utcp_neither_imports_nor_configures_structlog() -> None:
    program = (
        "import sys, utcp, utcp.trace\n"
        "assert utcp.trace.default_observer() is None\n"
        "assert 'structlog' not in sys.modules\n"
        "import structlog\n"
        "assert not structlog.is_configured()\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)  # noqa: S603
