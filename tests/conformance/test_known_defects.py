"""Defects that other stacks had, numbered: each has a test here that fails on the defect, or a reason why not yet.

The tests stand by subject in the `test_defects_*` files; their names begin with `test_defect_` and the number.
"""

import re
from types import ModuleType
from typing import Final

import pytest

from tests.conformance import test_defects_api, test_defects_close, test_defects_open, test_defects_transfer

COUNT: Final = 43
NOT_YET: Final = {8: "CUBIC is not there yet, and K is CUBIC's"}
SUBJECTS: Final = (test_defects_open, test_defects_transfer, test_defects_close, test_defects_api)


def numbers(subject: ModuleType) -> set[int]:
    """The defects that the tests of a file are named after."""
    found = (re.match(r"test_defect_(\d\d)_\w+", name) for name in vars(subject))
    return {int(match[1]) for match in found if match}


TESTED: Final = set[int]().union(*map(numbers, SUBJECTS))


@pytest.mark.parametrize("number", range(1, COUNT + 1))
def test_every_defect_has_a_test_or_a_reason(number: int) -> None:
    assert (number in TESTED) != (number in NOT_YET)


def test_there_are_no_others() -> None:
    assert TESTED | NOT_YET.keys() == set(range(1, COUNT + 1))
