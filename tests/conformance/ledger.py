"""The ledger: what each RFC asks for, what becomes of it here, and which tests prove it; the same of known defects.

A pytest plugin. Marks say what a test proves, by the ids of the tables in `requirements/` and of `defects.tsv`:

    @pytest.mark.rfc9293("MUST-13", "MUST-15")
    @pytest.mark.rfc("5961", "3.2-1")
    @pytest.mark.defect(12, 37)

A run fails when a mark names an id that is in no table, and when a test passes that proves what the table does not
call done (of a defect: mended), because the table is out of date then. A run of the whole suite (or any with
`--ledger`) fails when no test that passed proves what the table calls done. `python -m tests.conformance.ledger` writes
the tables in README.md, and their overview in utcp/RFCS.md.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import pytest

import utcp

REQUIREMENTS: Final = Path(__file__).with_name("requirements")
DEFECTS: Final = Path(__file__).with_name("defects.tsv")
README: Final = Path(__file__).with_name("README.md")
OVERVIEW: Final = Path(utcp.__file__).parent / "RFCS.md"
BEGIN: Final = "<!-- ledger: written by python -m tests.conformance.ledger -->\n"
END: Final = "<!-- end of the ledger -->\n"

DONE: Final = "done"
MENDED: Final = "mended"
NOT_YET: Final = "not yet"
STATUSES: Final = (DONE, "deviates", "not applicable", NOT_YET, "left out")
COLUMNS: Final = ("id", "level", "section", "requirement", "status", "why")
DEFECT_STATUSES: Final = (MENDED, NOT_YET)
DEFECT_COLUMNS: Final = ("number", "defect", "right", "seen in", "status", "why")

SUBJECTS: Final = {
    "9293": "TCP",
    "1337": "TIME_WAIT and stray segments",
    "2018": "SACK",
    "2883": "DSACK",
    "3168": "ECN",
    "4987": "SYN floods and cookies",
    "5681": "congestion control",
    "5682": "F-RTO: spurious timeouts",
    "5927": "attacks by ICMP",
    "5961": "blind attacks",
    "6056": "choice of ports",
    "6191": "TIME_WAIT and timestamps",
    "6298": "retransmission timer",
    "6528": "initial sequence numbers",
    "6582": "NewReno",
    "6675": "loss recovery by SACK",
    "6928": "initial window",
    "7323": "window scaling, timestamps, PAWS",
    "8899": "search for the path's MTU",
    "8985": "RACK-TLP",
    "9406": "HyStart++",
    "9438": "CUBIC",
    "9937": "proportional rate reduction",
}

Key: TypeAlias = tuple[str, str]
"""The number of an RFC, and the id of a requirement in it; or "defect", and its number."""
Claims: TypeAlias = Mapping[Key, Iterable[str]]
"""Node ids of the tests that prove a requirement."""


class Requirement(NamedTuple):
    """One row of a table, in our own words. `level` is as the RFC has it, "text" where it uses none of RFC 2119's."""

    rfc: str
    id: str
    level: str
    section: str
    text: str
    status: str
    why: str

    @property
    def key(self) -> Key:
        return self.rfc, self.id

    def __str__(self) -> str:
        return name_of(self.key)


class Defect(NamedTuple):
    """One row of `defects.tsv`: a mistake that another stack made, or that utcp made itself, and what is right."""

    number: int
    text: str
    right: str
    seen_in: str
    status: str
    why: str

    @property
    def key(self) -> Key:
        return defect_key(self.number)

    def __str__(self) -> str:
        return name_of(self.key)


Row: TypeAlias = Requirement | Defect


def defect_key(number: int) -> Key:
    return "defect", str(number)


def name_of(key: Key) -> str:
    """How messages name a row."""
    return " ".join(key) if key[0] == "defect" else f"RFC {key[0]} {key[1]}"


def _cells(path: Path, columns: tuple[str, ...]) -> Iterator[list[str]]:
    """The rows of a table. Raises ValueError for a head that is not `columns`, or a row of another length."""
    head, *lines = path.read_text().splitlines()
    if tuple(head.split("\t")) != columns:
        raise ValueError(f"{path.name}: the columns must be {columns}")
    for line in lines:
        cells = line.split("\t")
        if len(cells) != len(columns):
            raise ValueError(f"{path.name}: {len(columns)} cells are needed: {line!r}")
        yield cells


def read(folder: Path = REQUIREMENTS) -> dict[Key, Requirement]:
    """The tables, RFC 9293's first. Raises ValueError for one that is not as it must be."""
    rows: dict[Key, Requirement] = {}
    for path in sorted(folder.glob("rfc*.tsv"), key=lambda path: (path.stem != "rfc9293", path.stem)):
        for cells in _cells(path, COLUMNS):
            row = Requirement(path.stem[3:], *cells)
            if row.status not in STATUSES:
                raise ValueError(f"{row}: the status must be one of {STATUSES}, not {row.status!r}")
            if row.status != DONE and not row.why:
                raise ValueError(f"{row}: why is it {row.status}?")
            if row.status == "left out" and row.level != "MAY":
                raise ValueError(f"{row}: only what an RFC leaves free can be left out")
            if row.key in rows:
                raise ValueError(f"{row}: twice")
            rows[row.key] = row
    return rows


def read_defects(path: Path = DEFECTS) -> dict[Key, Defect]:
    """The known defects, numbered from 1 without a gap. Raises ValueError for a table that is not as it must be."""
    rows: dict[Key, Defect] = {}
    for number, cells in enumerate(_cells(path, DEFECT_COLUMNS), start=1):
        if cells[0] != str(number):
            raise ValueError(f"{path.name}: number {number} is missing before {cells[0]!r}")
        row = Defect(number, *cells[1:])
        if row.status not in DEFECT_STATUSES:
            raise ValueError(f"{row}: the status must be one of {DEFECT_STATUSES}, not {row.status!r}")
        if row.status == NOT_YET and not row.why:
            raise ValueError(f"{row}: why is it not mended yet?")
        rows[row.key] = row
    return rows


def unknown(rows: Mapping[Key, Row], claims: Claims) -> list[str]:
    """What marks name and no table has."""
    return [
        f"{name} is marked with {name_of(key)}, which is in no table"
        for key, names in claims.items()
        if key not in rows
        for name in names
    ]


def outdated(rows: Mapping[Key, Row], passed: Claims) -> list[str]:
    """What tests prove although the table does not call it done or mended."""
    return [
        f"{name} passed and is marked with {rows[key]}, which is called {rows[key].status!r}"
        for key, names in passed.items()
        if rows[key].status not in (DONE, MENDED)
        for name in names
    ]


def unproven(rows: Mapping[Key, Row], passed: Claims) -> list[str]:
    """What the table calls done or mended although no test proves it."""
    return [
        f"{row} is called {row.status}, but no test that passed proves it: {row.text}"
        for row in rows.values()
        if row.status in (DONE, MENDED) and row.key not in passed
    ]


def summary(rows: Mapping[Key, Requirement], claims: Claims) -> str:
    """One line of counts."""
    counts = Counter(row.status for row in rows.values())
    tests = len({name.partition("[")[0] for names in claims.values() for name in names})
    return f"{len(rows)} requirements: {', '.join(f'{counts[name]} {name}' for name in STATUSES)}; {tests} tests"


def render(rows: Mapping[Key, Requirement], claims: Claims) -> str:
    """The tables as Markdown."""
    parts = [f"{summary(rows, claims)}.\n"]
    for rfc in dict.fromkeys(row.rfc for row in rows.values()):
        table = [row for row in rows.values() if row.rfc == rfc]
        counts = Counter(row.status for row in table)
        parts.append(f"\n### RFC {rfc}\n")
        parts.append(f"\n{', '.join(f'{counts[name]} {name}' for name in STATUSES if counts[name])}.\n")
        parts.append("\n| id | level | section | requirement | status | tests |\n|---|---|---|---|---|---|\n")
        parts += [_line(row.id, row.level, row.section, row.text, _status(row), _tests(row, claims)) for row in table]
    return "".join(parts)


def render_defects(defects: Mapping[Key, Defect], claims: Claims) -> str:
    """The known defects as Markdown."""
    counts = Counter(row.status for row in defects.values())
    parts = [
        f"\n### Known defects\n\n{len(defects)}: {', '.join(f'{counts[name]} {name}' for name in DEFECT_STATUSES)}.\n",
        "\n| # | what happens | what is right | seen in | status | tests |\n|---|---|---|---|---|---|\n",
    ]
    parts += [
        _line(str(row.number), row.text, row.right, row.seen_in, _status(row), _tests(row, claims))
        for row in defects.values()
    ]
    return "".join(parts)


def _line(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |\n"


def _status(row: Row) -> str:
    return f"{row.status}: {row.why}" if row.why else row.status


def _tests(row: Row, claims: Claims) -> str:
    return "<br>".join(sorted({_short(name) for name in claims.get(row.key, ())}))


def overview(rows: Mapping[Key, Requirement]) -> str:
    """A row of counts for each RFC, as Markdown for utcp/RFCS.md."""
    parts = [f"\n| RFC | about | {' | '.join(STATUSES)} |\n|---|---|{'---|' * len(STATUSES)}\n"]
    for rfc in dict.fromkeys(row.rfc for row in rows.values()):
        counts = Counter(row.status for row in rows.values() if row.rfc == rfc)
        link = f"[{rfc}](https://www.rfc-editor.org/rfc/rfc{rfc})"
        parts.append(f"| {link} | {SUBJECTS[rfc]} | {' | '.join(str(counts[name] or '') for name in STATUSES)} |\n")
    return "".join(parts) + "\n"


def _short(name: str) -> str:
    """`tests/tcp/test_open.py::test_x[1]` as `tcp/test_open::test_x`."""
    return name.partition("[")[0].removeprefix("tests/").replace(".py::", "::")


def committed(page: Path = README) -> str:
    """What stands between the marks on `page`."""
    return page.read_text().partition(BEGIN)[2].partition(END)[0]


def write(text: str, page: Path = README) -> None:
    """Put `text` between the marks on `page`."""
    before, _, rest = page.read_text().partition(BEGIN)
    page.write_text(before + BEGIN + text + END + rest.partition(END)[2])


class Ledger:
    """Follows one run of pytest: what its tests claim, and which of them pass."""

    def __init__(self, config: pytest.Config) -> None:
        self.requirements = read()
        self.defects = read_defects()
        self.rows: dict[Key, Row] = {**self.requirements, **self.defects}
        self.claims: defaultdict[Key, list[str]] = defaultdict(list)
        self.whole = _everything_is_asked_for(config)
        """Every test of the suite is in this run, except for long ones."""
        self.problems: list[str] = []
        self._config = config
        self._of_test: dict[str, list[Key]] = {}
        self._passed: list[str] = []
        self._left_out: list[pytest.Item] = []
        """The long tests that are not in this run."""

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        long = [item for item in items if item.get_closest_marker("long")]
        self.whole &= len(long) == len(items)
        self._left_out += long

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for item in [*session.items, *self._left_out]:
            self._add_claims(item.nodeid, list(_keys(item)))
        if (strangers := unknown(self.rows, self.claims)) and self._worker_output is None:
            raise pytest.UsageError("\n".join(strangers))
        if self._config.getoption("ledger_write"):
            if not self.whole:
                raise pytest.UsageError("the tables name all tests: --ledger-write needs the whole suite")
            write(self.tables())
            write(overview(self.requirements), OVERVIEW)
            pytest.exit(f"written: {README}, {OVERVIEW}", returncode=0)

    def _add_claims(self, name: str, keys: list[Key]) -> None:
        if keys and name not in self._of_test:
            self._of_test[name] = keys
            for key in keys:
                self.claims[key].append(name)

    def tables(self) -> str:
        """What README.md has to show."""
        of_rfcs = {key: names for key, names in self.claims.items() if key in self.requirements}
        return render(self.requirements, of_rfcs) + render_defects(self.defects, self.claims)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed:
            self._passed.append(report.nodeid)

    @property
    def _worker_output(self) -> dict[str, Any] | None:
        """What a process that pytest-xdist started hands over at its end. None in all other processes."""
        return getattr(self._config, "workeroutput", None)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take over the claims of a process that pytest-xdist started. One that crashed has none."""
        whole, of_test = getattr(node, "workeroutput", {}).get("ledger", (True, {}))
        self.whole &= whole
        for name, keys in of_test.items():
            self._add_claims(name, keys)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._config.getoption("collectonly") or self._config.getoption("ledger_write"):
            return
        if self._worker_output is not None:
            self._worker_output["ledger"] = (self.whole, self._of_test)
            return
        passed: defaultdict[Key, list[str]] = defaultdict(list)
        for name in self._passed:
            for key in self._of_test.get(name, ()):
                passed[key].append(name)
        self.problems = unknown(self.rows, self.claims) or outdated(self.rows, passed)
        if self._is_complete(session):
            self.problems += unproven(self.rows, passed)
        if self.problems and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _is_complete(self, session: pytest.Session) -> bool:
        """The run was to prove everything, and came to its end."""
        asked_for: bool = self.whole or self._config.getoption("ledger")
        return asked_for and not session.shouldstop and not session.shouldfail

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.problems:
            terminalreporter.section("the ledger is not right", red=True)
            for problem in self.problems:
                terminalreporter.write_line(problem)
        if (self.whole and not self._config.getoption("ledger_write")) or self._config.getoption("ledger"):
            terminalreporter.write_line(f"ledger: {summary(self.requirements, self.claims)}")


STASH: Final = pytest.StashKey[Ledger]()


def _keys(item: pytest.Item) -> Iterable[Key]:
    """What a test says that it proves."""
    for mark in item.iter_markers("rfc9293"):
        yield from (("9293", name) for name in mark.args)
    for mark in item.iter_markers("rfc"):
        number, *names = mark.args
        yield from ((number, name) for name in names)
    for mark in item.iter_markers("defect"):
        yield from (defect_key(number) for number in mark.args)


def _everything_is_asked_for(config: pytest.Config) -> bool:
    suite = Path(__file__).parents[1]
    paths = [(config.invocation_params.dir / argument).resolve() for argument in config.args]
    narrowed = (config.getoption(name, None) for name in ("ignore", "ignore_glob", "lf"))
    return any(suite.is_relative_to(path) for path in paths) and not any(narrowed)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("ledger", "the ledger of requirements")
    group.addoption("--ledger", action="store_true", help="every requirement that is done must be proven by this run")
    group.addoption("--ledger-write", action="store_true", help="write the tables in README.md, and run no test")


def pytest_configure(config: pytest.Config) -> None:
    ledger = config.stash[STASH] = Ledger(config)
    config.pluginmanager.register(ledger)


if __name__ == "__main__":
    sys.exit(pytest.main(["-q", "--ledger-write"]))
