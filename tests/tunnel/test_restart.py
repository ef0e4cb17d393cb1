"""Ends that die without a word, and are started again."""

import socket
from contextlib import ExitStack, suppress

import pytest

from tests.ports import free_port
from tests.tunnel.processes import LOCAL, PATIENCE, Process, listen, serve, started
from tests.tunnel.web import web


def get(port: int, octets: int = 1000) -> int:
    """How many octets of body a user gets; ConnectionResetError is for the caller."""
    with socket.create_connection((LOCAL, port), timeout=PATIENCE) as user:
        user.sendall(b"GET /%d HTTP/1.1\r\n\r\n" % octets)
        received = bytearray()
        while data := user.recv(65536):
            received += data
    return len(received.partition(b"\r\n\r\n")[2])


def open_user(port: int) -> socket.socket:
    """A user whose request has been answered in part: its connection is carried all the way."""
    user = socket.create_connection((LOCAL, port), timeout=PATIENCE)
    user.sendall(b"GET /slowly/1000000 HTTP/1.1\r\n\r\n")
    assert user.recv(100)
    return user


def drain(user: socket.socket) -> None:
    while user.recv(65536):
        pass


def say_and_drain(user: socket.socket) -> None:
    user.sendall(b"are you still there?")  # fails if the client knows already that its server was killed
    drain(user)


def test_a_client_that_is_killed_and_started_again() -> None:
    with web() as service, serve(service.port, "-v") as far, ExitStack() as stack:
        udp = far.port("UDP")
        port = free_port(socket.SOCK_STREAM)
        with listen(udp, port=port) as near:
            assert near.port() == port
            assert get(port) == 1000
            user = stack.enter_context(open_user(port))
            near.process.kill()
            with suppress(ConnectionResetError):  # FIN or RST: as the kernel finds the sockets of the dead
                drain(user)
        with listen(udp, port=port) as near:
            assert near.port() == port
            assert get(port) == 1000
        assert far.process.poll() is None


def test_a_server_that_is_killed_and_started_again() -> None:
    """The client runs on. The user that it has is reset at the latest when the new server says so; new ones are
    carried."""
    with web() as service, ExitStack() as stack:
        udp = free_port()
        first = stack.enter_context(serve(service.port, port=udp))
        assert first.port("UDP") == udp
        near = stack.enter_context(listen(udp))
        port = near.port()
        assert get(port) == 1000
        user = stack.enter_context(open_user(port))
        first.process.kill()
        first.process.wait()
        waiting = stack.enter_context(socket.create_connection((LOCAL, port), timeout=PATIENCE))
        waiting.sendall(b"GET /1000 HTTP/1.1\r\n\r\n")
        second = stack.enter_context(serve(service.port, port=udp))
        assert second.port("UDP") == udp
        # Who came while there was no server has waited for it.
        assert b"200 OK" in waiting.recv(65536)
        assert get(port) == 1000
        with pytest.raises(ConnectionResetError):
            say_and_drain(user)
        assert near.process.poll() is None


def test_a_user_waits_for_the_server_no_longer_than_it_was_said() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent, ExitStack() as stack:
        silent.bind((LOCAL, 0))
        near = stack.enter_context(listen(silent.getsockname()[1], "--connect-timeout", "0.5"))
        user = stack.enter_context(socket.create_connection((LOCAL, near.port()), timeout=PATIENCE))
        with pytest.raises(ConnectionResetError):
            user.recv(1)
        assert near.wait_for("no answer in 0.5 s")


def test_a_target_that_refuses_resets_the_user() -> None:
    with socket.socket() as nobody, ExitStack() as stack:
        nobody.bind((LOCAL, 0))  # and does not listen
        far = stack.enter_context(serve(nobody.getsockname()[1]))
        near = stack.enter_context(listen(far.port("UDP")))
        user = stack.enter_context(socket.create_connection((LOCAL, near.port()), timeout=PATIENCE))
        with pytest.raises(ConnectionResetError):
            user.recv(1)
        far.wait_for("Connection refused")


def test_the_public_end_of_a_reverse_tunnel_is_killed_and_started_again() -> None:
    with web() as service, ExitStack() as stack:

        def public(udp: int, users: int) -> Process:
            return stack.enter_context(started("serve", f"{LOCAL}:{udp}", "--reverse", str(users)))

        udp, port = free_port(), free_port(socket.SOCK_STREAM)
        first = public(udp, port)
        assert (first.port("UDP"), first.port()) == (udp, port)
        inside = stack.enter_context(started("expose", f"{LOCAL}:{service.port}", "--to", f"{LOCAL}:{udp}"))
        assert get(port) == 1000
        first.process.kill()
        first.process.wait()
        second = public(udp, port)
        assert second.port() == port
        assert get(port) == 1000  # who comes before the other end has noticed waits for it
        assert inside.process.poll() is None


def test_the_inside_end_of_a_reverse_tunnel_is_killed_and_started_again() -> None:
    with web() as service, ExitStack() as stack:
        public = stack.enter_context(started("serve", f"{LOCAL}:0", "--reverse", "0"))
        udp, port = public.port("UDP"), public.port()
        expose = ("expose", f"{LOCAL}:{service.port}", "--to", f"{LOCAL}:{udp}")
        first = stack.enter_context(started(*expose))
        assert get(port) == 1000
        first.process.kill()
        first.process.wait()
        second = stack.enter_context(started(*expose))
        second.wait_for("connected to")
        assert [get(port) for _ in range(10)] == [1000] * 10
        assert public.process.poll() is None


def test_the_inside_end_waits_for_the_public_one() -> None:
    with web() as service, ExitStack() as stack:
        udp = free_port()
        inside = stack.enter_context(started("expose", f"{LOCAL}:{service.port}", "--to", f"{LOCAL}:{udp}"))
        inside.wait_for("trying again")
        public = stack.enter_context(started("serve", f"{LOCAL}:{udp}", "--reverse", "0"))
        assert get(public.port()) == 1000
        assert sum("trying again" in line for line in inside.lines) == 1
        assert inside.end() == 0
        # It has taken its leave: nobody waits for a connection that is not there.
        with socket.create_connection((LOCAL, public.port()), timeout=PATIENCE) as user:
            assert public.end() == 0
            with pytest.raises(ConnectionResetError):
                user.recv(1)
