"""Hash tables whose keys a peer chooses: the peer must not be able to choose keys that collide.

Python hashes text and octets with a secret of the process, and a tuple by the hashes of its elements. An int hashes to
its own value: a sender can compute ints that share a chain of a table, and each lookup then walks the chain.
"""

import gc
from collections import deque
from collections.abc import Iterator
from typing import Any, Final

import pytest

import utcp
from utcp.wire import ACK, PSH, SYN, Segment, encode

MAY_HAVE_INTEGERS: Final = {
    "Reassembly": "places in one connection's window, 4,096 at most",
    "UdpLink": "the ECN bits",
    "LocalPeers": "UDP ports of processes on this host",
}
"""Owners of tables whose integer keys do no harm, and why."""

CONTAINERS: Final = (tuple, list, deque, dict, set, frozenset)


def tables_of(root: object) -> Iterator[tuple[str, Any]]:
    """The dicts and sets that belong to `root` or to an object of utcp's behind it, each with its owner's class."""
    seen: dict[int, object] = {}
    found: list[tuple[str, object]] = [("", root)]
    while found:
        owner, item = found.pop()
        if id(item) in seen:
            continue
        seen[id(item)] = item
        if type(item).__module__.startswith("utcp.") and not isinstance(item, tuple):
            owner = type(item).__name__
        elif not isinstance(item, CONTAINERS):
            continue
        if isinstance(item, dict | set | frozenset):
            yield owner, item
        found += [(owner, each) for each in gc.get_referents(item)]


def hashes_with_a_secret(key: object) -> bool:
    """Whether the hash of `key` depends on the process's secret, or on where the object lies in memory."""
    if isinstance(key, str | bytes):
        return True
    if isinstance(key, tuple):
        return any(map(hashes_with_a_secret, key))
    return type(key).__hash__ is object.__hash__


@pytest.mark.defect(93)
@pytest.mark.parametrize("host", ["127.0.0.1", None], ids=["one address", "wildcard"])
async def test_every_table_is_keyed_with_a_secret(host: str | None) -> None:
    """Of an endpoint with connections, a half-open one, a TIME_WAIT record that began anew and has answered, and
    answers that wait for the next flush."""
    async with utcp.Endpoint((host, 0), config=utcp.Config(close_timeout=0.1)) as endpoint:
        server = await endpoint.start_server(lambda _, writer: writer.close(), 80)
        reader, writer = await endpoint.open_connection("127.0.0.1", 80, udp_port=endpoint.address[1])
        await reader.read()
        stack, now = endpoint.stack, endpoint.link.now()
        remote = next(iter(stack.connections))[0]
        stack.receive_datagram(encode(Segment(1024, 80, 7, 0, SYN, 1000, mss=1000)), remote, now)
        key = (remote, 1025, 80)
        stack.time_wait.add(key, now, 1, 1, 0, 0, 0, False)
        stack.time_wait.add((remote, 1026, 80), now, 1, 1, 0, 0, 0, False)
        stack.time_wait.restart(key, now, 0)
        stack.receive_datagram(encode(Segment(1025, 80, 9, 9, ACK | PSH, 1000, b"stray")), remote, now)
        for port in (1027, 1028):
            stack.receive_datagram(encode(Segment(port, 80, 9, 9, ACK, 1000)), remote, now)
        tables = [
            (owner, list(table)) for owner, table in tables_of(endpoint) if table and table is not stack.listeners
        ]
        writer.close()
        server.close()
    assert {"Stack", "TimeWaitTable", "_Remotes", "Outbox", "Listener"} <= {owner for owner, _ in tables}
    assert not [
        (owner, key)
        for owner, keys in tables
        if owner not in MAY_HAVE_INTEGERS
        for key in keys
        if not hashes_with_a_secret(key)
    ]
