"""The types of the commands' options, and the loop that a command runs on."""

import asyncio
import sys
from typing import Any

import click
import pytest
import uvloop

from utcp.cli.options import (
    ANY_ADDRESS,
    LOCAL_ADDRESS,
    PORT,
    REMOTE_ADDRESS,
    REMOTE_PORT,
    SECONDS,
    SECONDS_OR_NONE_AT_ALL,
    SERVICE_ADDRESS,
    run,
)


def refusal(kind: click.ParamType[Any], value: str) -> str:
    with pytest.raises(click.BadParameter) as caught:
        kind.convert(value, None, None)
    return caught.value.message


@pytest.mark.parametrize(("text", "port"), [("0", 0), ("80", 80), ("00080", 80), ("65535", 65535)])
def test_ports(text: str, port: int) -> None:
    assert PORT.convert(text, None, None) == port


@pytest.mark.parametrize("text", ["", "65536", "-1", "+1", "1.0", "0x50", " 80", "http", "٣", "²", "1_000", "9" * 5000])
def test_what_is_no_port(text: str) -> None:
    assert refusal(PORT, text) == f"{text!r} is not a port, 0 to 65535"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("example.org:9000", ("example.org", 9000)),
        ("127.0.0.1:1", ("127.0.0.1", 1)),
        ("[::1]:9000", ("::1", 9000)),
        ("[fe80::1%eth0]:9000", ("fe80::1%eth0", 9000)),
    ],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    for kind in (REMOTE_ADDRESS, SERVICE_ADDRESS, LOCAL_ADDRESS, ANY_ADDRESS):
        assert kind.convert(text, None, None) == address


def test_a_port_alone_is_one_of_this_machine_or_of_all_its_interfaces() -> None:
    assert LOCAL_ADDRESS.convert("9000", None, None) == ("127.0.0.1", 9000)
    assert ANY_ADDRESS.convert("9000", None, None) == ("*", 9000)
    assert REMOTE_ADDRESS.convert(("host", 9), None, None) == ("host", 9)  # a default, which is one already


@pytest.mark.parametrize("text", ["", ":9000", "::1", "::1:9000", "[::1]", "[]:9000", "[::1:9000", "::1]:9000"])
def test_what_is_no_address(text: str) -> None:
    assert refusal(REMOTE_ADDRESS, text) == f"{text!r} is not HOST:PORT (an IPv6 address in brackets: [::1]:9000)"
    if text:
        said = f"{text!r} is not PORT or HOST:PORT (an IPv6 address in brackets: [::1]:9000)"
        assert refusal(LOCAL_ADDRESS, text) == said


def test_an_address_needs_a_port() -> None:
    assert "is not HOST:PORT" in refusal(REMOTE_ADDRESS, "9000")
    assert refusal(REMOTE_ADDRESS, "host:") == "'' is not a port, 1 to 65535"
    assert refusal(REMOTE_ADDRESS, "host:http") == "'http' is not a port, 1 to 65535"
    assert refusal(LOCAL_ADDRESS, "host") == "'host' is not a port, 0 to 65535"


def test_port_0_is_for_those_who_listen() -> None:
    assert LOCAL_ADDRESS.convert("0", None, None) == ("127.0.0.1", 0)
    assert ANY_ADDRESS.convert("host:0", None, None) == ("host", 0)
    for kind, text in ((REMOTE_PORT, "0"), (REMOTE_ADDRESS, "host:0"), (SERVICE_ADDRESS, "0")):
        assert refusal(kind, text) == "'0' is not a port, 1 to 65535"


@pytest.mark.parametrize(("text", "seconds"), [("1", 1.0), ("0.25", 0.25), ("1e3", 1000.0)])
def test_seconds(text: str, seconds: float) -> None:
    assert SECONDS.convert(text, None, None) == seconds
    assert SECONDS_OR_NONE_AT_ALL.convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "-1", "nan", "inf", "1e999", "soon", "1s"])
def test_what_is_no_number_of_seconds(text: str) -> None:
    assert refusal(SECONDS, text) == f"{text!r} is not a number of seconds above 0"
    assert refusal(SECONDS_OR_NONE_AT_ALL, text) == f"{text!r} is not a number of seconds, 0 or more"


def test_no_seconds_at_all() -> None:
    assert SECONDS_OR_NONE_AT_ALL.convert("0", None, None) == 0
    assert refusal(SECONDS, "0") == "'0' is not a number of seconds above 0"


async def kind_of_loop() -> type[asyncio.AbstractEventLoop]:
    return type(asyncio.get_running_loop())


def test_the_loop_that_was_asked_for() -> None:
    assert run(kind_of_loop(), "uvloop") is uvloop.Loop
    assert issubclass(run(kind_of_loop()), asyncio.BaseEventLoop)


def test_uvloop_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    with pytest.raises(
        click.ClickException, match="uvloop is not installed: pip install uvloop, or use --loop asyncio"
    ):
        run(kind_of_loop(), "uvloop")
