"""Config: every field refuses every value that cannot work, and says which values are right."""

import copy
import dataclasses
import inspect
import math
import pickle
from typing import Any, Final

import pytest

from tests.variant import interpreted_only
from utcp import Config

FIELDS: Final = {field.name: field.default for field in dataclasses.fields(Config)}

LIMITS: Final = ("max_memory", "max_connections", "max_connections_per_remote")

MAY_BE_NONE: Final = ("mss", "send_buffer", "recv_buffer", "user_timeout", "orphan_timeout", *LIMITS)
OF_NO_FIELD: Final = [b"1", [], {}, object(), 1j, math.nan, math.inf, -math.inf, -1, 10**400, "", " 1"]

WRONG: Final[dict[type, list[Any]]] = {
    bool: [0, 1, 0.0, "True", "yes", "no", None],
    int: [True, False, 1.0, 5.5, "5", "5.5"],
    float: [True, False, "5", "0.1"],
    str: [True, 1, 0.5, "Cubic", "vegas", "none", None],
    tuple: [True, 5, 0.5, "80", (), (1,), (1, 2, 3), [1, 2], (0, 2), (1, 65536), (2, 1), (1.0, 2), (True, 2), None],
}
"""By the type of a field: what is wrong for each field of the type."""

OUT_OF_RANGE: Final[dict[str, list[Any]]] = {
    "syn_backlog": [0],
    "reset_rate": [0, 0.09, 1.1e9],
    "max_memory": [0, (1 << 20) - 1, (1 << 50) + 1],
    "max_connections": [0],
    "max_connections_per_remote": [0],
    "mss": [0, 63, 65496],
    "send_buffer": [0, 2047, (1 << 30) + 1],
    "max_send_buffer": [0, 2047, (1 << 30) + 1],
    "recv_buffer": [0, 2047, (1 << 30) + 1],
    "initial_recv_buffer": [0, 2047, (1 << 30) + 1],
    "max_recv_buffer": [0, 2047, (1 << 30) + 1],
    "max_ack_delay": [60.1],
    "delayed_ack": [0.5],
    "challenge_ack_interval": [0],
    "rto_initial": [0],
    "rto_min": [0, 60.1],
    "rto_max": [0, 0.1],
    "user_timeout": [0],
    "orphan_timeout": [0],
    "keepalive_idle": [0],
    "keepalive_interval": [0],
    "keepalive_count": [0, 1],
    "fin_wait_2_timeout": [0],
    "close_timeout": [0],
}

RIGHT: Final[dict[str, list[Any]]] = {
    "syn_retries": [0],
    "syn_ack_retries": [0],
    "syn_backlog": [1],
    "syn_cookies": ["always", "never"],
    "reset_rate": [0.1, 1, 1e9],
    "mss": [64, 65495],
    "max_memory": [1 << 20, 1 << 50],
    "max_connections": [1],
    "max_connections_per_remote": [1],
    "send_buffer": [2048, 1 << 30],
    "recv_buffer": [2048, 1 << 30],
    "max_ack_delay": [0, 60],
    "delayed_ack": [0, 0.49],
    "congestion_control": ["bbr", "newreno"],
    "rto_min": [1e-9, 60],
    "rto_max": [0.2],
    "msl": [0],
    "user_timeout": [1],
    "orphan_timeout": [1, None],
    "keepalive": [True],
    "keepalive_count": [2],
    "close_timeout": [1e-9, 1e9],
    "ephemeral_ports": [(1, 65535), (7, 7)],
}


def kind(name: str) -> type:
    return (
        int
        if name in ("mss", "send_buffer", "recv_buffer", *LIMITS)
        else float
        if name == "user_timeout"
        else type(FIELDS[name])
    )


def wrong_values() -> list[Any]:
    cases = []
    for name in FIELDS:
        values = [*OF_NO_FIELD, *WRONG[kind(name)], *OUT_OF_RANGE.get(name, [])]
        if name not in MAY_BE_NONE:
            values.append(None)
        cases.append(pytest.param(name, values, id=name))
    return cases


@pytest.mark.defect(84)
@pytest.mark.parametrize(("name", "values"), wrong_values())
def test_a_value_that_cannot_work_is_a_value_error_that_says_what_would(name: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(ValueError, match=rf"^{name} must be .*, not |^rto_min must be at most rto_max") as raised:
            Config(**{name: value})
        assert raised.type is ValueError, value


@pytest.mark.defect(84)
@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        (
            "mss",
            "1400",
            "mss must be a whole number of bytes, 64 to 65495, or None for the path MTU, not '1400'",
        ),
        ("congestion_control", "vegas", 'congestion_control must be one of "bbr", "cubic", "newreno", not \'vegas\''),
        ("keepalive", "no", "keepalive must be True or False, not 'no'"),
        ("close_timeout", math.inf, "close_timeout must be a number of seconds, above 0 and at most 1e9, not inf"),
        ("retries", 2.0, "retries must be a whole number, 0 or more, not 2.0"),
        ("rto_min", 61.0, "rto_min must be at most rto_max (60.0), not 61.0"),
        (
            "ephemeral_ports",
            [1, 2],
            "ephemeral_ports must be a tuple of two ports, first and last, from 1 to 65535 and in order, not [1, 2]",
        ),
    ],
)
def test_what_it_says(name: str, value: object, text: str) -> None:
    with pytest.raises(ValueError, match="must be") as raised:
        Config(**{name: value})  # type: ignore[arg-type]  # on purpose
    assert str(raised.value) == text


@pytest.mark.parametrize("name", RIGHT)
def test_the_bounds_themselves_are_right(name: str) -> None:
    for value in [*RIGHT[name], FIELDS[name]]:
        assert getattr(Config(**{name: value}), name) == value


def test_none_is_right_where_it_means_something() -> None:
    for name in MAY_BE_NONE:
        assert getattr(Config(**{name: None}), name) is None  # type: ignore[arg-type]  # any field


def test_there_is_no_field_of_another_name() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'no_delay'"):
        Config(no_delay=True)  # type: ignore[call-arg]  # on purpose


@pytest.mark.defect(84)
def test_the_signature_has_the_fields() -> None:
    parameters = inspect.signature(Config).parameters
    assert list(parameters) == list(FIELDS)
    assert {name: parameter.default for name, parameter in parameters.items()} == FIELDS


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_copy_is_the_same(protocol: int) -> None:
    config = Config(mss=1400, keepalive=True)
    assert pickle.loads(pickle.dumps(config, protocol)) == config  # noqa: S301  # our own
    assert copy.copy(config) == copy.deepcopy(config) == dataclasses.replace(config) == config
    with pytest.raises(ValueError, match="mss must be"):
        dataclasses.replace(config, mss=1)


@interpreted_only
@pytest.mark.defect(84)
def test_subclasses_are_checked_and_have_signatures_of_their_own() -> None:
    @dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
    class WithFields(Config):
        mss: int | None = 1
        name: str = ""

    class WithInit(Config):
        def __init__(self, mss: int) -> None:
            super().__init__(mss=mss)

    with pytest.raises(ValueError, match="mss must be"):
        WithFields()
    with pytest.raises(ValueError, match="mss must be"):
        WithInit(1)
    assert WithFields(mss=1400, name="lan").name == "lan"
    assert WithInit(1400).mss == 1400
    assert list(inspect.signature(WithFields).parameters) == [*FIELDS, "name"]
    assert list(inspect.signature(WithInit).parameters) == ["mss"]
