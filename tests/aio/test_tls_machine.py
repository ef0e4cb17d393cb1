"""TLS over memory: two machines whose octets the test carries."""

import ssl
from typing import Any

import pytest

from tests.certificates import client_context, server_context
from utcp.aio.tls.machine import TlsMachine


def carry(one: TlsMachine, other: TlsMachine) -> None:
    """What each has to say, to the other."""
    for source, sink in ((one, other), (other, one)):
        if data := source.take():
            sink.feed(data)


def shaken(version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> tuple[TlsMachine, TlsMachine]:
    """A client and a server after their handshake."""
    context = server_context()
    context.maximum_version = version
    client = TlsMachine(client_context(), server_side=False, server_hostname="localhost")
    server = TlsMachine(context, server_side=True)
    complete: list[bool] = [False, False]
    while not all(complete):
        complete = [complete[0] or client.handshake(), complete[1] or server.handshake()]
        carry(client, server)
    assert client.read() == b""  # session tickets
    return client, server


def test_all_complete_records_are_read_at_once() -> None:
    client, server = shaken()
    client.write(b"one ")
    client.write(bytearray(b"two "))
    client.write(memoryview(b"_three_")[1:-1])
    client.write(bytes(100_000))
    octets = client.take()
    server.feed(octets[:-1])
    begin = server.read()
    assert begin.startswith(b"one two three\0")
    assert server.read() == b""
    server.feed(octets[-1:])
    assert begin + server.read() == b"one two three" + bytes(100_000)


def test_a_memoryview_is_written_octet_by_octet() -> None:
    client, server = shaken()
    numbers = memoryview(bytes(range(8))).cast("I")
    client.write(numbers)
    client.write(numbers[::-1])
    carry(client, server)
    assert server.read() == bytes([*range(8), 4, 5, 6, 7, 0, 1, 2, 3])


def test_each_direction_ends_by_itself() -> None:
    client, server = shaken()
    client.write(b"question")
    assert not client.close()
    carry(client, server)
    assert (server.read(), server.peer_closed) == (b"question", True)
    server.write(b"answer")
    carry(client, server)
    assert (client.read(), client.peer_closed) == (b"answer", False)
    assert server.close()
    carry(client, server)
    assert (client.read(), client.peer_closed) == (b"", True)
    assert client.close()
    assert client.take() == server.take() == b""


def test_data_instead_of_the_close_notify_that_is_awaited() -> None:
    client, server = shaken()
    assert not client.close()
    server.write(b"more")
    carry(client, server)
    with pytest.raises(ssl.SSLError, match=r"(?i)application data after close notify"):
        client.close()


def test_a_changed_record_fails() -> None:
    client, server = shaken()
    client.write(b"a record")
    octets = bytearray(client.take())
    octets[-1] ^= 1
    server.feed(bytes(octets))
    with pytest.raises(ssl.SSLError):
        server.read()
    assert server.take()[:1] == b"\x17"  # an alert, encrypted


class Renegotiating:
    """An SSLObject whose peer has begun the handshake anew; Python's ssl has no way to ask for that."""

    def __init__(self) -> None:
        self.room = 0
        self.written = bytearray()

    def write(self, data: Any) -> int:
        if not self.room:
            raise ssl.SSLWantReadError
        accepted = bytes(data[: self.room])
        self.written += accepted
        self.room -= len(accepted)
        return len(accepted)

    def read(self, _: int) -> bytes:
        raise ssl.SSLWantReadError

    def unwrap(self) -> None:
        self.written += b"."  # close_notify
        raise ssl.SSLWantReadError


def test_what_cannot_be_encrypted_yet_waits_in_order() -> None:
    client, _ = shaken(ssl.TLSVersion.TLSv1_2)
    client.object = tls = Renegotiating()  # type: ignore[assignment]  # stands for it
    tls.room = 3
    data = bytearray(b"first ")
    client.write(data)
    data[:] = b"other "
    client.write(b"second ")
    assert client.backlog_size == 10
    tls.room = 5
    client.read()
    assert client.backlog_size == 5
    client.write(b"third")
    tls.room = 100
    client.read()
    client.write(b" fourth")
    tls.room = 0
    client.write(b" last")
    tls.room = 100
    assert not client.close()
    assert (bytes(tls.written), client.backlog_size) == (b"first second third fourth last.", 0)
