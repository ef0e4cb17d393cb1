"""The network that the other tests run in is their own."""

import socket
from pathlib import Path

from tests.interop.namespace import OURS, own_network

HOSTS = OURS.readlink() if OURS.exists() else None  # while the tests are collected nothing has moved yet


def current() -> Path:
    return OURS.readlink()


def test_nothing_of_the_host_is_seen() -> None:
    assert current() != HOSTS
    assert [name for _, name in socket.if_nameindex()] == ["lo"]


def test_back_again() -> None:
    outside = current()
    with own_network():
        assert current() not in (outside, HOSTS)
    assert current() == outside
