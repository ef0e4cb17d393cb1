"""Reports of UDP sockets that are closed on this host."""

import select
import socket
from collections.abc import Iterator

import pytest

from tests.link.sockets import LOOPBACK, both_families, needs_linux
from utcp.link.closings import MAX_REPORTS, Closings

pytestmark = [needs_linux, pytest.mark.defect(100)]


@pytest.fixture
def closings() -> Iterator[Closings]:
    try:
        opened = Closings()
    except OSError as error:
        pytest.skip(f"this kernel reports no closed sockets: {error}")
    yield opened
    opened.close()
    opened.close()


def bound(family: int) -> tuple[socket.socket, int]:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.bind(LOOPBACK[family])
    return sock, sock.getsockname()[1]


def reported(closings: Closings, wanted: tuple[str, int]) -> bool:
    """Whether an address is reported; others of this host may be, too."""
    while select.select([closings], [], [], 2)[0]:
        closed = closings.read()
        assert closed is not None
        if wanted in closed:
            return True
    return False


@both_families
def test_address_of_a_socket_that_is_closed(family: int, closings: Closings) -> None:
    sock, port = bound(family)
    assert closings.read() is not None  # what was there before
    sock.close()
    assert reported(closings, (LOOPBACK[family][0], port))
    other, _ = bound(family)
    assert (LOOPBACK[family][0], port) not in (closings.read() or ())
    other.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "::ffff:127.0.0.1"])
def test_address_is_reported_as_the_socket_was_bound(host: str, closings: Closings) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((host, 0))
        port = sock.getsockname()[1]
    assert reported(closings, (host.removeprefix("::ffff:"), port))


def test_reports_that_found_no_room_are_missed(closings: Closings) -> None:
    closings._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    witness = Closings()  # with room: the kernel reports a little later, and to all its readers one after the other
    for _ in range(100):
        sock, port = bound(socket.AF_INET)
        sock.close()
    assert reported(witness, ("127.0.0.1", port))
    witness.close()
    assert closings.read() is None


def test_no_more_is_read_at_once_than_the_loop_has_time_for(closings: Closings) -> None:
    reports = [b"\0" * 16 + b"\2\7\0\0" + port.to_bytes(2, "big") + b"\0" * 66 for port in range(1, 200)]

    class Full:
        def recv(self, size: int) -> bytes:
            return reports.pop(0)

        def close(self) -> None:
            real.close()

    real, closings._socket = closings._socket, Full()  # type: ignore[assignment]  # a socket that never runs dry
    assert closings.read() == set()  # of another type than a socket's
    assert len(reports) == 199 - MAX_REPORTS
