"""The command line itself: help, and bad arguments in one line."""

import pytest

from utcp.cli import main


def test_without_a_command_it_prints_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "demo" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["dance"], "No such command 'dance'"),
        (["demo", "--port", "65536"], "'65536' is not a port, 0 to 65535"),
        (["demo", "--port", "-1"], "'-1' is not a port"),
        (["demo", "--port", "http"], "'http' is not a port"),
        (["demo", "--msl", "0"], "'0' is not a number of seconds above 0"),
        (["demo", "--msl", "nan"], "'nan' is not"),
        (["demo", "--msl", "inf"], "'inf' is not"),
        (["demo", "--msl", "soon"], "'soon' is not"),
        (["demo", "--loop", "trio"], "'trio' is not one of"),
        (["demo", "--speed", "9"], "No such option"),
    ],
)
def test_bad_arguments_are_one_line_and_status_2(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert complaint in printed.err
    assert printed.err.count("\n") == 1
    assert printed.err.startswith("utcp")
