"""The log events: names, levels and keys are a promise to whoever filters on them."""

from __future__ import annotations

import ast
import inspect
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
import structlog
from structlog.testing import LogCapture

import utcp
from tests.aio.peers import opened
from utcp import errors
from utcp.config import Config
from utcp.inspect.recording import Recording
from utcp.tcp.observer import Observer
from utcp.tcp.stack import Stack
from utcp.tcp.state import CLOSED, ESTABLISHED, SYN_RCVD, SYN_SENT
from utcp.tcp.timers import NAMES as TIMER_NAMES
from utcp.tcp.timers import RETRANSMIT
from utcp.trace import default_observer, log, log_event
from utcp.trace.log import REPEAT, StandardObserver, StructlogObserver
from utcp.wire import SYN, Segment, encode

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
class StubRtt:
    """What the observer reads of an Rtt."""

    rto: float = 0.4


@dataclass(frozen=True)
class StubConnection:
    """What the observer reads of a Connection."""

    error: OSError | None = None
    remote: object = REMOTE
    remote_port: int = 80
    local_port: int = 50000
    passive: bool = False
    opened_at: float = 1.0
    mss: int = 1440
    retransmits: int = 0
    rtt: StubRtt = StubRtt()

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
            "suppressed": 0,
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
    observer.time_wait_ended(REMOTE, 80, 50000, 1.0)
    observer.time_wait_ended(REMOTE, 80, 50000, 2.0)
    assert [(record.name, record.levelname, record.getMessage()) for record in caplog.records] == [
        ("utcp", "ERROR", "logging of utcp.time_wait_ended failed")
    ]
    assert "RuntimeError: the disk is full" in caplog.text
    broken = False
    observer.time_wait_ended(REMOTE, 80, 50000, 3.0)
    assert delivered == ["utcp.time_wait_ended"]
    broken = True
    observer.time_wait_ended(REMOTE, 80, 50000, 4.0)
    assert len(caplog.records) == 2


def test_default_observer_follows_the_application() -> None:
    assert isinstance(default_observer(), StandardObserver), "structlog is imported here, but not configured"
    structlog.configure()
    assert isinstance(default_observer(), StructlogObserver)


def test_importing_utcp_neither_imports_nor_configures_structlog() -> None:
    program = (
        "import sys, utcp, utcp.trace\n"
        "utcp.trace.default_observer()\n"
        "assert 'structlog' not in sys.modules\n"
        "import structlog\n"
        "assert not structlog.is_configured()\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=200)  # noqa: S603


def test_trouble_is_a_warning_and_says_where() -> None:
    observer, events = configured(logging.INFO)
    observer.path_unreachable(stub(), errors.PathUnreachable(113), 1.0)
    observer.ports_exhausted(REMOTE, 80, 2.0)
    observer.listen_overflowed(443, REMOTE, 3.0)
    observer.syn_flooded(443, REMOTE, True, 4.0)
    observer.mss_changed(stub(), 1440, 5.0)
    observer.timer_expired(stub(), RETRANSMIT, 6.0)
    here = {"remote": "192.0.2.7:9000", "log_level": "warning", "suppressed": 0}
    assert events == [
        {
            "event": "utcp.path_unreachable",
            **PORTS,
            "error": str(errors.PathUnreachable(113)),
            "log_level": "warning",
            "suppressed": 0,
        },
        {"event": "utcp.ports_exhausted", **here, "remote_port": 80},
        {"event": "utcp.listen_overflowed", **here, "local_port": 443},
        {"event": "utcp.syn_flooded", **here, "local_port": 443, "cookie": True},
    ]


def test_timers_and_segment_sizes_are_for_debugging() -> None:
    observer, events = configured()
    for timer in range(len(TIMER_NAMES)):
        observer.timer_expired(stub(retransmits=2), timer, 1.0)
    observer.mss_changed(stub(mss=1168), 1440, 2.0)
    assert [event["timer"] for event in events[:-1]] == [
        name for name in TIMER_NAMES if name not in ("delayed_ack", "pacing", "reorder")
    ]
    assert events[0] == {
        "event": "utcp.timer_expired",
        "log_level": "debug",
        **PORTS,
        "timer": "retransmit",
        "retransmits": 2,
        "rto": 0.4,
    }
    assert events[-1] == {"event": "utcp.mss_changed", "log_level": "debug", **PORTS, "before": 1440, "mss": 1168}


def test_strangers_cannot_flood_the_log() -> None:
    observer, events = configured()
    for number in range(1000):
        observer.malformed(REMOTE, "rubbish", number / 100)  # ten seconds of it
        observer.listen_overflowed(80, REMOTE, number / 100)
        observer.syn_flooded(80, REMOTE, False, number / 100)
    assert [(event["event"], event["suppressed"]) for event in events] == [
        ("utcp.malformed", 0),
        ("utcp.listen_overflowed", 0),
        ("utcp.syn_flooded", 0),
    ]
    observer.malformed(REMOTE, "rubbish", REPEAT)
    observer.malformed(REMOTE, "rubbish", 3 * REPEAT)
    assert [(event["event"], event["suppressed"]) for event in events[3:]] == [
        ("utcp.malformed", 999),
        ("utcp.malformed", 0),
    ]


def test_a_flood_of_forged_syns_makes_one_line() -> None:
    """On a real stack: half-open connections come and go without a word."""
    observer, events = configured(logging.INFO)
    stack = Stack(Config(syn_backlog=5, syn_cookies="never"), secret=b"sixteen octets!!", observer=observer)
    stack.listen(80, 0.0)
    for number in range(1000):
        stack.receive_datagram(encode(Segment(1024 + number, 80, 1, 0, SYN, 1000)), REMOTE, 0.0)
        stack.receive_datagram(b"rubbish", REMOTE, 0.0)
        stack.receive_datagram(encode(Segment(1024 + number, 81, 1, 0, SYN, 1000)), REMOTE, 0.0)
    stack.datagrams_to_send(0.0)
    while (due := stack.next_timeout()) is not None:
        stack.handle_timeout(due)
        stack.datagrams_to_send(due)
    assert not stack.connections
    assert [event["event"] for event in events] == ["utcp.syn_flooded"]


async def test_endpoints_control_sockets_and_captures_are_logged(tmp_path: Path) -> None:
    _, events = configured(logging.INFO)
    async with utcp.Endpoint(("127.0.0.1", 0), control=tmp_path / "control") as endpoint:
        address = f"127.0.0.1:{endpoint.address[1]}"
        recording = Recording(lambda octets: True, failed=lambda error: pytest.fail(str(error)))
        recording.begin(opened(endpoint))
        recording.finish()
        recording.finish()
    told = {"log_level": "info"}
    assert [event for event in events if "connection" not in event["event"]] == [
        {"event": "utcp.control_opened", "path": str(tmp_path / "control"), **told},
        {"event": "utcp.endpoint_opened", "address": address, **told},
        {"event": "utcp.capture_started", **told},
        {"event": "utcp.capture_ended", "packets": 0, "dropped": 0, **told},
        {"event": "utcp.control_closed", "path": str(tmp_path / "control"), **told},
        {"event": "utcp.endpoint_closed", "address": address, **told},
    ]


def test_events_of_no_stack_go_to_the_configured_structlog() -> None:
    capture = LogCapture()
    structlog.configure(processors=[capture])
    log_event("utcp.endpoint_opened", address=("::1", 9000, 0, 0))
    assert [event["address"] for event in capture.entries] == ["[::1]:9000"]


# --- the table


def documented() -> dict[str, tuple[str, set[str]]]:
    """The events of the docstring's table: level and keys."""
    groups = {"connection": set(PORTS), "end": {*END, "duration"}}
    table: dict[str, tuple[str, set[str]]] = {}
    event = ""
    for row in re.findall(r"^\| (.+?) \| (.+?) \| .+? \| (.+?) \|$", log.__doc__ or "", re.MULTILINE):
        name, level, keys = (cell.strip() for cell in row)
        if name == "event":
            continue
        event = name.strip("`") or event
        if name:
            table[event] = (level, set())
        for key in filter(None, (key.strip() for key in keys.split(","))):
            table[event][1].update({key.strip("`")} if key.startswith("`") else groups[key])
    return table


def emitted() -> dict[str, tuple[str, set[str]]]:
    """What comes of every callback of an observer, with every way to end."""
    observer, events = configured()
    connection = stub(error=errors.ConnectionReset())
    samples = {
        "connection": connection,
        "remote": REMOTE,
        "error": OSError(),
        "segment": None,
        "buffers": [],
        "reason": "",
        "cookie": True,
    }
    callbacks = [name for name, value in vars(Observer).items() if inspect.isfunction(value)]
    for name in callbacks:
        callback = getattr(observer, name)
        callback(*(samples.get(parameter, 0) for parameter in inspect.signature(callback).parameters))
    observer.state_changed(connection, SYN_SENT, ESTABLISHED, 0.0)
    for error in (None, errors.ConnectionRefused(), errors.ConnectionAborted(), errors.SynTimedOut(), OSError()):
        observer.connection_ended(stub(error=error), 0.0)
    found = {event.pop("event"): (event.pop("log_level"), set(event)) for event in events}
    for call in outside_of_stacks():
        found[call.args[0].value] = ("info", {keyword.arg for keyword in call.keywords})  # type: ignore[attr-defined]
    return found


def outside_of_stacks() -> Iterator[ast.Call]:
    """The calls of log_event() with an event's name, wherever in utcp."""
    for module in Path(utcp.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "log_event":
                yield node


def test_the_table_is_what_is_logged() -> None:
    assert documented() == emitted()
