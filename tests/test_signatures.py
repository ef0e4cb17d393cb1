"""The signatures of the public calls show each keyword, and a type checker rejects any other.

mypy checks this file with the rest of the tree: an unused `type: ignore` would be an error.
"""

import dataclasses
import inspect
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any, get_type_hints

import pytest

import utcp
import utcp.testing
from utcp.testing import Conditions, Network
from utcp.testing.path import ConditionChanges

SAME = [
    (utcp.open_connection, utcp.create_connection),
    (utcp.start_server, utcp.create_server),
    (utcp.Endpoint.open_connection, utcp.Endpoint.create_connection),
    (utcp.Endpoint.start_server, utcp.Endpoint.create_server),
]


def keywords(function: Callable[..., object]) -> dict[str, tuple[object, object]]:
    """The keyword-only parameters with their types and defaults."""
    parameters = inspect.signature(function).parameters.values()
    return {each.name: (each.annotation, each.default) for each in parameters if each.kind is each.KEYWORD_ONLY}


@pytest.mark.parametrize(("streams", "protocols"), SAME, ids=lambda function: function.__qualname__)
def test_streams_take_what_protocols_take(streams: Callable[..., object], protocols: Callable[..., object]) -> None:
    ours = keywords(streams)
    assert ours.pop("limit") == ("int", 65536)
    assert ours == keywords(protocols)


def test_link_takes_the_fields_of_conditions() -> None:
    hints = get_type_hints(Conditions)
    assert get_type_hints(ConditionChanges) == {
        field.name: hints[field.name] for field in dataclasses.fields(Conditions)
    }


def public_functions() -> Iterator[Any]:
    for package in (utcp, utcp.testing):
        for name in package.__all__:
            value = getattr(package, name)
            if isinstance(value, FunctionType):
                yield pytest.param(value, id=f"{package.__name__}.{name}")
            elif isinstance(value, type):
                for method, function in vars(value).items():
                    if isinstance(function, FunctionType) and (method == "__init__" or not method.startswith("_")):
                        yield pytest.param(function, id=f"{package.__name__}.{name}.{method}")


@pytest.mark.parametrize("function", list(public_functions()))
def test_no_public_call_hides_its_keywords(function: Callable[..., object]) -> None:
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD and function.__module__.startswith("utcp."):
            # Calls that replace a method of asyncio's loops, and mostly only say that they do not work.
            assert parameter.annotation != "Any" or function.__qualname__.startswith("VirtualLoop."), parameter


async def test_a_wrong_keyword_is_an_error_for_type_checkers_too() -> None:
    async with utcp.Endpoint() as endpoint:
        with pytest.raises(TypeError, match="sll"):
            await utcp.open_connection("127.0.0.1", 9000, sll=None)  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="sll"):
            await utcp.start_server(lambda *_: None, "127.0.0.1", 9000, sll=None)  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="config"):
            await endpoint.open_connection("127.0.0.1", 9000, config=None)  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="host"):
            await endpoint.start_server(lambda *_: None, 9000, host="127.0.0.1")  # type: ignore[call-arg]


async def wrong_types() -> None:
    """For the type checker; it is not called."""
    await utcp.open_connection("127.0.0.1", 9000, config={"mss": 1000})  # type: ignore[arg-type]
    await utcp.start_server(lambda *_: None, "127.0.0.1", 9000, ssl=True)  # type: ignore[arg-type]


def test_a_wrong_condition_is_an_error_for_type_checkers_too() -> None:
    network = Network()
    a, b = network.host("a"), network.host("b")
    with pytest.raises(TypeError, match="los"):
        network.link(a, b, los=0.1)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        network.link_oneway(a, b, loss="much")  # type: ignore[arg-type]
    network.close()
