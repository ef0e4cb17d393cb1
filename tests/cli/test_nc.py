"""`utcp nc`: how it closes, several connections, addresses, bad arguments."""

import asyncio
import re
import signal
import socket
import subprocess
import threading

import pytest

from tests.cli.netcats import against, line, listener, nc, outcome, run
from tests.ports import free_port
from utcp.cli import main

both_loops = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


# ---------------------------------------------------------------------- closing


@both_loops
async def test_the_end_of_stdin_is_a_fin_and_the_answer_comes_after_it(loop: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        question = await reader.read()
        writer.write(b"you said " + question)

    def work(port: str) -> None:
        assert run("--loop", loop, "127.0.0.1", port, given=b"x") == (0, b"you said x", "")

    await against(answer, work)


@both_loops
async def test_what_stdin_brings_after_the_peers_fin_is_sent(loop: str) -> None:
    async def finish_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"that is all\n")
        writer.write_eof()
        assert await reader.read() == b"and now this"

    def work(port: str) -> None:
        with nc("--loop", loop, "127.0.0.1", port) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"that is all\n"
            assert outcome(process, b"and now this") == (0, b"", "")

    await against(finish_first, work)


async def test_without_shutdown_the_end_of_stdin_is_not_the_end() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readline() == b"hello\n"
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.3)
        writer.write(b"bye\n")
        writer.write_eof()
        assert await reader.read() == b""

    def work(port: str) -> None:
        assert run("--no-shutdown", "127.0.0.1", port, given=b"hello\n") == (0, b"bye\n", "")

    await against(answer, work)


def test_verbose_says_who_is_connected_and_how_it_closed() -> None:
    with listener("--no-shutdown", stdin=subprocess.DEVNULL) as (server, port):
        status, out, err = run("-v", "127.0.0.1", port, given=b"hello")
        assert (status, out) == (0, b"")
        connected, closed = err.splitlines()
        own_port = connected.rpartition(" ")[2]
        assert connected == f"utcp nc: connected to 127.0.0.1 port {port} from port {own_port}"
        told, _, states = closed.partition("; ")
        assert told == f"utcp nc: 127.0.0.1 port {port}: 5 bytes sent, 0 received"
        between = states.removeprefix("ESTABLISHED > FIN_WAIT_1 > ").removesuffix("TIME_WAIT")
        assert between in ("", "FIN_WAIT_2 > ")  # whether the ACK came with the FIN or before it
        status, out, err = outcome(server, None)
    assert (status, out) == (0, b"hello")
    peer = f"utcp nc: 127.0.0.1 port {own_port}"
    assert err.splitlines() == [
        f"{peer} has connected",
        f"{peer}: 0 bytes sent, 5 received; ESTABLISHED > CLOSE_WAIT > LAST_ACK > CLOSED",
    ]


async def test_ctrl_c_resets_the_connection() -> None:
    async def be_reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"go on\n")
        with pytest.raises(ConnectionResetError):
            await reader.read()

    def work(port: str) -> None:
        with nc("127.0.0.1", port) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"go on\n"
            process.send_signal(signal.SIGINT)
            assert outcome(process, None) == (130, b"", "")

    await against(be_reset, work)


@both_loops
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signals_end_a_listener(number: signal.Signals, status: int, loop: str) -> None:
    with listener("--loop", loop) as (server, _):
        server.send_signal(number)
        assert outcome(server, None) == (status, b"", "")


async def test_a_reset_is_one_line_and_status_1() -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"so far\n")
        await reader.readline()
        writer.transport.abort()

    def work(port: str) -> None:
        with nc("127.0.0.1", port) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"so far\n"
            assert process.stdin is not None
            process.stdin.write(b"now\n")
            process.stdin.flush()
            said = f"utcp nc: 127.0.0.1 port {port}: Connection reset by peer\n"
            assert outcome(process, None) == (1, b"", said)

    await against(reset, work)


# ---------------------------------------------------------------------- several connections


def test_a_listener_takes_one_connection() -> None:
    with listener(stdin=subprocess.DEVNULL) as (server, port), nc("127.0.0.1", port) as first:
        assert line(server).endswith("has connected\n")
        status, out, err = run("127.0.0.1", port)
        assert (status, out) == (1, b"")
        assert err.endswith((f"port {port}: Connection refused\n", f"port {port}: Connection reset by peer\n"))
        assert outcome(first, b"hello") == (0, b"", "")
        assert outcome(server, None)[:2] == (0, b"hello")


@both_loops
def test_with_k_it_takes_them_in_turn(loop: str) -> None:
    with listener("--loop", loop, "-k", stdin=subprocess.DEVNULL) as (server, port):
        assert server.stdout is not None
        with nc("127.0.0.1", port) as first, nc("127.0.0.1", port) as second:
            assert line(server).endswith("has connected\n")
            for process in (first, second):
                assert process.stdin is not None
            second_done = threading.Thread(target=second.communicate, args=(b"two",))
            second_done.start()
            assert outcome(first, b"one")[0] == 0
            second_done.join()
            assert second.returncode == 0
        assert sorted([server.stdout.read(3), server.stdout.read(3)]) == [b"one", b"two"]
        server.send_signal(signal.SIGINT)
        status, out, err = outcome(server, None)
    assert (status, out) == (130, b"")
    assert err.count("has connected") == 1
    assert err.count("bytes sent") == 2


def test_with_k_a_failed_connection_is_said_and_the_next_is_served() -> None:
    with listener("-k", stdin=subprocess.DEVNULL) as (server, port):
        with nc("127.0.0.1", port) as killed:
            assert line(server).endswith("has connected\n")
            killed.send_signal(signal.SIGINT)
            assert outcome(killed, None)[0] == 130
        assert "bytes sent" in line(server)
        assert line(server).endswith(": Connection reset by peer\n")
        assert run("127.0.0.1", port, given=b"hello") == (0, b"", "")
        server.send_signal(signal.SIGINT)
        assert outcome(server, None)[:2] == (130, b"hello")


# ---------------------------------------------------------------------- addresses


async def test_the_local_port() -> None:
    async def look(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(str(writer.get_extra_info("peername")[1]).encode())

    def work(port: str) -> None:
        assert run("-p", "2345", "127.0.0.1", port) == (0, b"2345", "")

    await against(look, work)


def test_the_port_that_the_system_chooses_is_reported_and_the_same_for_both_families() -> None:
    with nc("-l", "0", stdin=subprocess.DEVNULL) as server:
        addresses = [line(server) for _ in range(2 if socket.has_dualstack_ipv6() else 1)]
        listening = r"utcp nc: listening on (?:0\.0\.0\.0|::) port (\d+)"
        ports = {port for each in addresses for port in re.findall(listening, each)}
        assert len(ports) == 1
        server.send_signal(signal.SIGTERM)


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_ipv6() -> None:
    with nc("-v", "-l", "-6", "::1", "-p", "0", stdin=subprocess.DEVNULL) as server:
        port = re.findall(r"listening on ::1 port (\d+)", line(server))[0]
        assert run("-6", "::1", port, given=b"hello")[0] == 0
        assert outcome(server, None)[:2] == (0, b"hello")


def test_refused() -> None:
    port = free_port()
    assert run("127.0.0.1", str(port)) == (1, b"", f"utcp nc: 127.0.0.1 port {port}: Connection refused\n")


def test_nobody_answers() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        port = str(silent.getsockname()[1])
        said = f"utcp nc: 127.0.0.1 port {port}: no connection within 0.2 s\n"
        assert run("-w", "0.2", "127.0.0.1", port) == (1, b"", said)


def test_nobody_connects() -> None:
    said = "utcp nc: no connection arrived within 0.2 s\n"
    assert run("-w", "0.2", "-l", "127.0.0.1", str(free_port())) == (1, b"", said)


def test_a_port_in_use() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        status, out, err = run("-l", "127.0.0.1", str(port))
    assert (status, out) == (1, b"")
    assert err.startswith(f"utcp nc: cannot listen on 127.0.0.1 port {port}: ")
    assert "address already in use" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["-6", "127.0.0.1", "9"], "utcp nc: 127.0.0.1 port 9: "),
        (["nowhere.invalid", "9"], "utcp nc: nowhere.invalid port 9: "),
        (["x" * 70, "9"], f"utcp nc: {'x' * 70} port 9: this cannot be a host's name"),
        (["-l", "nowhere.invalid", "9"], "utcp nc: cannot listen on nowhere.invalid port 9: "),
    ],
)
def test_hosts_that_are_none(arguments: list[str], complaint: str) -> None:
    status, out, err = run("-w", "30", *arguments)
    assert (status, out) == (1, b"")
    assert err.startswith(complaint)
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "the arguments must be HOST PORT, not 0 words"),
        (["9000"], "the arguments must be HOST PORT, not 1 word "),
        (["one", "two", "3"], "the arguments must be HOST PORT, not 3 words"),
        (["host", "65536"], "'65536' is not a port, 1 to 65535"),
        (["host", "0"], "'0' is not a port, 1 to 65535"),
        (["-l"], "the arguments must be [HOST] PORT, not 0 words"),
        (["-l", "host", "http"], "'http' is not a port"),
        (["-l", "host", "9000", "-p", "9000"], "the port is given twice"),
        (["-l", "7003", "-p", "7002"], "the port is given twice: use -l PORT or -l -p PORT"),
        (["-k", "host", "9000"], "-k needs -l"),
        (["-4", "-6", "host", "9000"], "-4 and -6 do not go together"),
        (["-w", "0", "host", "9000"], "'0' is not a number of seconds above 0"),
        (["-p", "x", "host", "9000"], "'x' is not a port"),
    ],
)
def test_bad_arguments(arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nc", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("utcp nc: ")
    assert complaint in err
    assert err.count("\n") == 1
