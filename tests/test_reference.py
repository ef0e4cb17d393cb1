"""The reference is complete, and is what the code says of itself."""

import dataclasses

import pytest

import utcp
from tests.reference import README, causes, fields, rendered


def test_it_is_what_the_code_says() -> None:
    assert README.read_text() == rendered(), "python -m tests.reference writes it anew"


def test_every_field_of_config_is_in_it() -> None:
    assert [name for _, name, _, _ in fields()] == [field.name for field in dataclasses.fields(utcp.Config)]


@pytest.mark.parametrize("cause", causes(), ids=lambda cause: cause.__name__)
def test_every_error_is_public(cause: type[OSError]) -> None:
    assert getattr(utcp, cause.__name__) is cause
    assert cause.__name__ in utcp.__all__
