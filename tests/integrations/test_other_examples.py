"""The examples for websockets, anyio and asyncssh, run as a user runs them."""

import re
import socket

import pytest

from tests.examples.test_examples import complaint, outcome, run, start
from tests.ports import free_port


def test_websockets() -> None:
    pytest.importorskip("websockets", reason="websockets comes with the extra 'integrations'")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        port = str(free_port())
        probe.bind(("127.0.0.1", int(port)))
        status, out, err = outcome(start("websockets_echo.py", "--port", port))
        assert (status, out) == (1, "")
        assert re.fullmatch(r"websockets_echo: .*address already in use\n", err)
    assert re.fullmatch(
        r"said 'hello', heard 'hello'\n"
        r"said 'and goodbye', heard 'and goodbye'\n"
        r"utcp, ESTABLISHED: \d+ bytes sent, \d+ received\n",
        run("websockets_echo.py", "--port", port),
    )


def test_anyio() -> None:
    pytest.importorskip("anyio", reason="anyio comes with the extra 'integrations'")
    # Whether the server's FIN comes with the ACK of ours or after it is the network's choice.
    assert re.fullmatch(
        r"the server counted 3 lines\n"
        r"the client went through CLOSED SYN_SENT ESTABLISHED FIN_WAIT_1( FIN_WAIT_2)? TIME_WAIT\n",
        run("anyio_half_close.py"),
    )


def test_asyncssh() -> None:
    pytest.importorskip("asyncssh", reason="asyncssh comes with the extra 'integrations'")
    assert re.fullmatch(
        r"the server says: HELLO OVER SSH OVER UTCP\nutcp, ESTABLISHED: \d+ bytes sent, \d+ received\n",
        run("asyncssh_exec.py"),
    )


@pytest.mark.parametrize("port", ["0", "65536", "-1"])
def test_websockets_needs_a_port(port: str) -> None:
    pytest.importorskip("websockets", reason="websockets comes with the extra 'integrations'")
    status, said = complaint("websockets_echo.py", "--port", port)
    assert status == 2
    assert f"must be 1 to 65535, not {port}" in said
