"""The same programs over kernel TCP and over utcp: what becomes of them is the same, or a difference with a reason.

asyncio's own loop over kernel TCP is the model. utcp is run on both loops and has to do as the model does, or as uvloop
does over kernel TCP when it is uvloop that runs it.
"""

import sys
from typing import Final

import pytest

from tests.aio.side_by_side.cancelling import CANCELLING
from tests.aio.side_by_side.differences import DIFFERENCES, Difference, difference
from tests.aio.side_by_side.ending import ENDING
from tests.aio.side_by_side.opening import OPENING
from tests.aio.side_by_side.securing import SECURING
from tests.aio.side_by_side.serving import SERVING
from tests.aio.side_by_side.sockets import SOCKETS
from tests.aio.side_by_side.streams import STREAMS
from tests.aio.side_by_side.table import LOOPS, STRAY, Table, same
from tests.aio.side_by_side.transports import AFTER_THE_END, FORGOTTEN, TRANSPORTS

TABLES: Final = (OPENING, SERVING, TRANSPORTS, AFTER_THE_END, FORGOTTEN, STREAMS, CANCELLING, SECURING, SOCKETS, ENDING)

FACTOR: Final = 5.0
GRACE: Final = 30.0
"""A program may take FACTOR times as long over utcp, and GRACE seconds: many run at once, on machines that are busy."""

ROWS: Final = [
    pytest.param(table, name, id=f"{table.name}: {name}", marks=[pytest.mark.defect(*defects)] if defects else [])
    for table in TABLES
    for name, defects in (*((row.name, row.defects) for row in table.rows.values()), (STRAY, ()))
]


@pytest.mark.parametrize(("table", "name"), ROWS)
def test_utcp_does_what_asyncio_does(table: Table, name: str) -> None:
    for loop in LOOPS:  # in one test: a thousand tests more would take longer than the programs
        check(table, name, loop)


def check(table: Table, name: str, loop: str) -> None:
    ours = table.outcomes("utcp", loop)[name]
    model = table.outcomes("kernel", "asyncio")[name]
    if name == STRAY:  # asyncio leaves a socket unclosed here and there, where utcp has none
        assert set(ours.warned) <= set(model.warned), loop
        assert not ours.told, loop
        return
    meant = difference(table.name, name, loop)
    if meant is not None and not (meant.sometimes and same(ours.seen(), model.seen())):
        assert same(ours.result, meant.utcp), f"on {loop}, {meant.why}"
        assert not same(ours.seen(), model.seen()), f"on {loop} there is no difference any more"
        return
    if not same(ours.seen(), model.seen()) and loop == "uvloop":
        model = table.outcome_alone(name, "kernel", loop)  # of few rows: some of the others hang on uvloop
    if not same(ours.seen(), model.seen()):
        assert ours.seen() == model.seen(), loop
    assert ours.seconds <= model.seconds * FACTOR + GRACE, loop


@pytest.mark.skipif(sys.version_info < (3, 13), reason="some rows are of methods that asyncio has since 3.13")
@pytest.mark.parametrize("meant", DIFFERENCES, ids=lambda meant: f"{meant.table}: {meant.rows}")
def test_every_difference_is_one_of_a_row(meant: Difference) -> None:
    (table,) = (table for table in TABLES if table.name == meant.table)
    assert any(difference(table.name, row, loop) is meant for row in table.rows for loop in meant.loops)
