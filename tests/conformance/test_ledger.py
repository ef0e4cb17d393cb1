"""The ledger and the known defects: their tables are whole, what is found wrong, and what README.md says of it."""

from collections import Counter
from pathlib import Path

import pytest

from tests.conformance.ledger import (
    COLUMNS,
    DEFECT_COLUMNS,
    OVERVIEW,
    STASH,
    Defect,
    Requirement,
    committed,
    outdated,
    overview,
    read,
    read_defects,
    render,
    render_defects,
    unknown,
    unproven,
)

ROWS = {
    row.key: row
    for row in (
        Requirement("9293", "MUST-1", "MUST", "3.1", "to be done", "done", ""),
        Requirement("9293", "MUST-2", "MUST", "3.1", "to be done | or not", "deviates", "there is a reason"),
    )
}
DEFECTS = {
    row.key: row
    for row in (
        Defect(1, "a fault", "what is right", "lwIP", "mended", ""),
        Defect(2, "a | fault", "what is right", "utcp", "not yet", "there is a reason"),
    )
}


def test_every_requirement_of_rfc_9293_has_a_row() -> None:
    """The numbers of its appendix B."""
    names = Counter(name.partition("-")[0] for rfc, name in read() if rfc == "9293")
    assert names == {"MUST": 69, "SHLD": 31, "MAY": 18, "REC": 1}
    for (rfc, name), row in read().items():
        if rfc == "9293" and name.startswith("MUST"):
            assert row.level in ("MUST", "MUST NOT"), row


def test_the_tables_in_the_readme_are_those_of_the_marks(request: pytest.FixtureRequest) -> None:
    ledger = request.config.stash[STASH]
    if not ledger.whole:
        pytest.skip("the tables name all tests: this needs the whole suite")
    assert committed() == ledger.tables(), "python -m tests.conformance.ledger writes them anew"


def test_the_overview_is_that_of_the_tables() -> None:
    assert committed(OVERVIEW) == overview(read()), "python -m tests.conformance.ledger writes it anew"


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        (["A\tMUST\t1\tx\tfinished\t"], "status must be one of"),
        (["A\tMUST\t1\tx\tdeviates\t"], "why is it deviates"),
        (["A\tMUST\t1\tx\tleft out\tno need"], "only what an RFC leaves free"),
        (["A\tMUST\t1\tx\tdone\t", "A\tMUST\t1\ty\tdone\t"], "twice"),
        (["A\tMUST\t1\tx\tdone"], "6 cells are needed"),
    ],
)
def test_a_table_that_is_wrong(rows: list[str], text: str, tmp_path: Path) -> None:
    (tmp_path / "rfc1.tsv").write_text("\n".join(["\t".join(COLUMNS), *rows]))
    with pytest.raises(ValueError, match=text):
        read(tmp_path)


def test_columns_are_checked(tmp_path: Path) -> None:
    (tmp_path / "rfc1.tsv").write_text("id\tlevel\n")
    with pytest.raises(ValueError, match="the columns must be"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        (["1\tx\ty\tz\tdone\t"], "status must be one of"),
        (["1\tx\ty\tz\tnot yet\t"], "why is it not mended yet"),
        (["1\tx\ty\tz\tmended\t", "3\tx\ty\tz\tmended\t"], "number 2 is missing before '3'"),
        (["1\tx\ty\tz\tmended\t", "1\tx\ty\tz\tmended\t"], "number 2 is missing before '1'"),
        (["1\tx\ty\tz\tmended"], "6 cells are needed"),
    ],
)
def test_a_list_of_defects_that_is_wrong(rows: list[str], text: str, tmp_path: Path) -> None:
    table = tmp_path / "defects.tsv"
    table.write_text("\n".join(["\t".join(DEFECT_COLUMNS), *rows]))
    with pytest.raises(ValueError, match=text):
        read_defects(table)


def test_what_is_wrong_with_defects() -> None:
    one, two, three = ("defect", "1"), ("defect", "2"), ("defect", "3")
    assert unknown(DEFECTS, {three: ["t"]}) == ["t is marked with defect 3, which is in no table"]
    assert outdated(DEFECTS, {one: ["t"]}) == []
    assert outdated(DEFECTS, {two: ["t"]}) == ["t passed and is marked with defect 2, which is called 'not yet'"]
    assert unproven(DEFECTS, {one: ["t"]}) == []
    assert unproven(DEFECTS, {}) == ["defect 1 is called mended, but no test that passed proves it: a fault"]


def test_what_is_wrong() -> None:
    one, two, three = ("9293", "MUST-1"), ("9293", "MUST-2"), ("9293", "MUST-3")
    assert unknown(ROWS, {one: ["t"]}) == []
    assert unknown(ROWS, {three: ["t"]}) == ["t is marked with RFC 9293 MUST-3, which is in no table"]
    assert outdated(ROWS, {one: ["t"]}) == []
    assert outdated(ROWS, {two: ["t"]}) == ["t passed and is marked with RFC 9293 MUST-2, which is called 'deviates'"]
    assert unproven(ROWS, {one: ["t"]}) == []
    assert unproven(ROWS, {}) == ["RFC 9293 MUST-1 is called done, but no test that passed proves it: to be done"]


def test_what_it_looks_like() -> None:
    names = ["tests/tcp/test_x.py::test_a[1]", "tests/tcp/test_x.py::test_a[2]"]
    text = render(ROWS, {("9293", "MUST-1"): names})
    assert text.startswith("2 requirements: 1 done, 1 deviates, 0 not applicable, 0 not yet, 0 left out; 1 tests.\n")
    assert "| MUST-1 | MUST | 3.1 | to be done | done | tcp/test_x::test_a |\n" in text
    assert "| MUST-2 | MUST | 3.1 | to be done &#124; or not | deviates: there is a reason |  |\n" in text


def test_what_the_list_of_defects_looks_like() -> None:
    text = render_defects(DEFECTS, {("defect", "1"): ["tests/tcp/test_x.py::test_a"]})
    assert "\n2: 1 mended, 1 not yet.\n" in text
    assert "| 1 | a fault | what is right | lwIP | mended | tcp/test_x::test_a |\n" in text
    assert "| 2 | a &#124; fault | what is right | utcp | not yet: there is a reason |  |\n" in text


# --- as pytest runs it


@pytest.fixture(autouse=True)
def no_other_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def run(pytester: pytest.Pytester, *lines: str, options: tuple[str, ...] = ()) -> pytest.RunResult:
    pytester.makepyprojecttoml('[tool.pytest.ini_options]\nmarkers = ["defect", "long", "rfc9293", "rfc"]\n')
    pytester.makepyfile("\n".join(["import pytest", *lines]))
    return pytester.runpytest_inprocess("-p", "tests.conformance.ledger", *options)


def test_a_part_of_the_suite_may_prove_what_it_likes(pytester: pytest.Pytester) -> None:
    result = run(pytester, "@pytest.mark.rfc9293('MUST-13')", "def test_it(): pass")
    assert result.ret == 0
    result.stdout.no_fnmatch_line("*ledger*")


def test_an_unknown_requirement_fails_any_run(pytester: pytest.Pytester) -> None:
    result = run(pytester, "@pytest.mark.rfc('5961', '3.2-2', '3.2-9')", "def test_it(): pass")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*::test_it is marked with RFC 5961 3.2-9, which is in no table"])


def test_a_requirement_proven_but_not_called_done_fails_any_run(pytester: pytest.Pytester) -> None:
    result = run(pytester, "@pytest.mark.rfc9293('MUST-2')", "def test_it(): pass")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*::test_it passed and is marked with RFC 9293 MUST-2, which is called 'deviates'"])


def test_a_number_of_no_known_defect_fails_any_run(pytester: pytest.Pytester) -> None:
    result = run(pytester, "@pytest.mark.defect(1, 9999)", "def test_it(): pass")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*::test_it is marked with defect 9999, which is in no table"])


@pytest.mark.parametrize("body", ["pass", "pytest.skip()", "assert False"])
def test_a_whole_run_proves_everything_that_is_called_done(body: str, pytester: pytest.Pytester) -> None:
    marks = "@pytest.mark.rfc9293('MUST-13')", "@pytest.mark.defect(12)"
    result = run(pytester, *marks, f"def test_it(): {body}", options=("--ledger",))
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*RFC 9293 MUST-1 is called done, but no test that passed proves it: *"])
    result.stdout.fnmatch_lines(["ledger: * requirements: * done, *; 1 tests"])
    assert ("RFC 9293 MUST-13 is called done" not in result.stdout.str()) == (body == "pass")
    assert ("defect 12 is called mended" not in result.stdout.str()) == (body == "pass")


def test_a_run_that_stopped_early_proves_nothing(pytester: pytest.Pytester) -> None:
    result = run(pytester, "def test_a(): assert False", "def test_b(): pass", options=("--ledger", "-x"))
    result.stdout.no_fnmatch_line("*is called done*")


def test_tables_are_written_of_the_whole_suite_only(pytester: pytest.Pytester) -> None:
    result = run(pytester, "def test_it(): pass", options=("--ledger-write",))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*needs the whole suite"])


def test_processes_that_share_the_tests_keep_one_ledger(pytester: pytest.Pytester) -> None:
    tests = (
        "@pytest.mark.rfc9293('MUST-13')",
        "def test_a(): pass",
        "@pytest.mark.rfc9293('MUST-14')",
        "@pytest.mark.parametrize('x', range(4))",
        "def test_b(x): pass",
        "@pytest.mark.rfc9293('MUST-2')",
        "def test_c(): pass",
    )
    result = run(pytester, *tests, options=("-p", "xdist", "-n", "2", "--ledger"))
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*::test_c passed and is marked with RFC 9293 MUST-2, which is called 'deviates'"])
    result.stdout.fnmatch_lines(["*RFC 9293 MUST-1 is called done, but no test that passed proves it: *"])
    result.stdout.no_fnmatch_line("*RFC 9293 MUST-13 is called done*")
    result.stdout.no_fnmatch_line("*RFC 9293 MUST-14 is called done*")
    result.stdout.fnmatch_lines(["ledger: * requirements: * done, *; 3 tests"])


def test_processes_that_share_the_tests_find_an_unknown_requirement(pytester: pytest.Pytester) -> None:
    tests = "@pytest.mark.rfc9293('MUST-999')", "def test_it(): pass"
    result = run(pytester, *tests, options=("-p", "xdist", "-n", "1"))
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*::test_it is marked with RFC 9293 MUST-999, which is in no table"])


@pytest.mark.parametrize("options", [(), ("-p", "xdist", "-n", "1")])
def test_long_tests_are_left_out_and_counted(options: tuple[str, ...], pytester: pytest.Pytester) -> None:
    tests = (
        "@pytest.mark.long",
        "@pytest.mark.rfc9293('MUST-13')",
        "@pytest.mark.parametrize('x', range(3))",
        "def test_a(x): pass",
        "@pytest.mark.rfc9293('MUST-14')",
        "def test_b(): pass",
    )
    result = run(pytester, *tests, options=("-p", "tests.long_tests", *options, "--ledger"))
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["3 long tests were left out: --long runs them, too"])
    result.stdout.fnmatch_lines(["*RFC 9293 MUST-13 is called done*"])
    result.stdout.fnmatch_lines(["ledger: * requirements: * done, *; 2 tests"])


def test_long_tests_run_when_asked_for(pytester: pytest.Pytester) -> None:
    tests = "@pytest.mark.long", "@pytest.mark.rfc9293('MUST-13')", "def test_it(): pass"
    result = run(pytester, *tests, options=("-p", "tests.long_tests", "--long", "--ledger"))
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*left out: --long*")
    result.stdout.no_fnmatch_line("*RFC 9293 MUST-13 is called done*")
