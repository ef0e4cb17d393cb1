"""The capture of a scene, `utcp demo NAME --pcap`, gives the ladder of the scene."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import pytest

from tests.scenes.goldens import played
from utcp.scenes import NAMES, load
from utcp.scenes.stage import Stage
from utcp.tcp.state import CLOSED, LAST_ACK, TIME_WAIT
from utcp.trace.capture_file import Captured, read_capture
from utcp.trace.connections import CapturedConnection, assigned, find_connections
from utcp.trace.ladder import Arrow, Rung
from utcp.trace.ladder.from_capture import rungs_from_capture
from utcp.trace.ladder.rungs import ENDS, End
from utcp.trace.pcapng import Capture, CaptureObserver
from utcp.wire import flag_names

SCRIPTED = {"late-ack": "the server is a script, not a TCP, so that no comment has its states"}
"""Scenes of which a capture does not have all states, and the reason."""


def read(name: str, tmp_path: Path) -> list[Captured]:
    path = tmp_path / f"{name}.pcapng"
    path.write_bytes(played(name).capture)
    return read_capture(path)


def on_the_first_ports(captured: Sequence[Captured]) -> list[CapturedConnection]:
    found = find_connections([captured])
    return [connection for connection in found if connection.shares_ports_with(found[0])]


def changes(rungs: Sequence[Rung], *, server: bool = True) -> list[Rung]:
    """Return the rungs without notes, each state only where it begins, and times since the first rung."""
    found = []
    shown: dict[str, int | None] = {}
    zero = rungs[0].time
    for rung in rungs:
        if rung.note is not None:
            continue
        states = {end: rung.state(end) if rung.state(end) != shown.get(end) else None for end in ENDS}
        shown.update({end: state for end, state in states.items() if state is not None})
        arrow = rung.arrow and moved(rung.arrow, zero)
        found.append(Rung(nearest(rung.time - zero), states["client"], states["server"] if server else None, arrow))
    return found


def moved(arrow: Arrow, zero: float) -> Arrow:
    sent, received = (None if time is None else nearest(time - zero) for time in (arrow.sent, arrow.received))
    return replace(arrow, sent=sent, received=received)


def nearest(time: float) -> float:
    return round(time, 6)


@pytest.mark.parametrize("name", NAMES)
def test_the_ladder_of_the_capture_is_that_of_the_scene(name: str, tmp_path: Path) -> None:
    captured = read(name, tmp_path)
    rungs = rungs_from_capture([captured], *on_the_first_ports(captured))
    server = name not in SCRIPTED
    assert changes(rungs, server=server) == changes(played(name).rungs, server=server)


def arrows(rungs: Sequence[Rung]) -> list[Arrow]:
    return [rung.arrow for rung in rungs if rung.arrow is not None]


def said(arrow: Arrow) -> str:
    length = f":{arrow.seq + arrow.length}" if arrow.length else ""
    return f"{arrow.sender} {flag_names(arrow.flags)} {arrow.seq}{length}"


def test_the_rst_from_last_ack_is_in_the_ladder_of_the_syn(tmp_path: Path) -> None:
    captured = read("syn-hits-last-ack", tmp_path)
    first, second, third = find_connections([captured])
    rungs = rungs_from_capture([captured], second)
    assert next((rung.client, rung.server) for rung in rungs) == (CLOSED, LAST_ACK)
    assert [said(arrow) for arrow in arrows(rungs)] == ["client SYN 0", "server RST,ACK 0"]
    assert rungs[-1].client == CLOSED
    assert {rung.server for rung in rungs} == {LAST_ACK, None}
    rungs = rungs_from_capture([captured], first)
    assert [said(arrow) for arrow in arrows(rungs)][-3:] == ["client ACK 2", "server FIN,ACK 1", "client RST 2"]
    assert (rungs[-1].arrow, rungs[-1].server) == (arrows(rungs)[-1], CLOSED)
    assert rungs[-1].time == pytest.approx(1.501)
    assert next(said(arrow) for arrow in arrows(rungs_from_capture([captured], third))) == "client SYN 0"


def test_a_copy_of_an_old_segment_is_drawn_where_it_was_taken(tmp_path: Path) -> None:
    captured = read("old-duplicate", tmp_path)
    first, second, third, fourth = find_connections([captured])
    ladders = [arrows(rungs_from_capture([captured], one)) for one in (first, second, third, fourth)]
    assert [sum(arrow.sent is None for arrow in ladder) for ladder in ladders] == [0, 1, 1, 0]
    assert not any(arrow.retransmission for ladder in ladders for arrow in ladder)
    copy = next(arrow for arrow in ladders[1] if arrow.sent is None)
    assert (said(copy), copy.ack) == ("client ACK 1296:2256", -624)
    *_, copy, answer = ladders[2]
    assert (said(copy), copy.sent, said(answer)) == ("client ACK 1921:2881", None, "server RST 1")


# ---------------------------------------------------------------------- of both ends

UNSEEN = {
    **SCRIPTED,
    "no-time-wait": "the client's capture ends with its process, so that nothing shows the loss of what came later",
}
"""Scenes that captures of both ends do not show in full, and the reason."""


def at_both_ends(name: str, tmp_path: Path) -> list[list[Captured]]:
    """Return the captures of a scene that its two hosts make."""
    files = {end: io.BytesIO() for end in ENDS}
    writers = {end: Capture(file) for end, file in files.items()}
    octets: dict[str, bytes] = {}
    scene = load(name)
    stage = Stage(scene.texts)
    stage.network.watches.append(
        lambda host, stack: CaptureObserver(
            writers["client" if host is stage.client else "server"], (host.address, 9000), stack=stack
        )
    )

    async def script(stage: Stage) -> None:
        await scene.script(stage)
        octets.update({end: file.getvalue() for end, file in files.items()})

    stage.run(script)
    captures = []
    for end in ENDS:
        path = tmp_path / f"{end}.pcapng"
        path.write_bytes(octets[end])
        captures.append(read_capture(path))
    return captures


@pytest.mark.parametrize("name", [name for name in NAMES if name not in UNSEEN])
def test_captures_of_both_ends_give_the_same_ladder(name: str, tmp_path: Path) -> None:
    """Except the end of a TIME_WAIT that lasted longer than the captures. It ends when its timer is due, by which the
    loop may be a millisecond late."""
    captures = at_both_ends(name, tmp_path)
    found = find_connections(captures)
    rungs = rungs_from_capture(captures, *(one for one in found if one.shares_ports_with(found[0])))
    expected = played(name).rungs
    assert flights(rungs) == flights(expected)
    for end in ENDS:
        ours, theirs = states(rungs, end), states(expected, end)
        if theirs[-2:] == [TIME_WAIT, CLOSED] and ours[-1] == TIME_WAIT:
            del theirs[-1]
        assert ours == theirs, end


@pytest.mark.parametrize("name", [name for name in NAMES if name not in SCRIPTED])
def test_a_capture_of_one_end_has_the_same_connections(name: str, tmp_path: Path) -> None:
    everything = find_connections([read(name, tmp_path)])
    for capture in at_both_ends(name, tmp_path):
        found = find_connections([capture])
        assert [(one.client.tcp_port, one.isn(one.client)) for one in found] == [
            (one.client.tcp_port, one.isn(one.client)) for one in everything
        ]
        resent = [
            arrow for one in found for arrow in arrows(rungs_from_capture([capture], one)) if arrow.retransmission
        ]
        expected = [said(arrow) for arrow in arrows(played(name).rungs) if arrow.retransmission]
        assert {said(arrow) for arrow in resent} <= set(expected)


def test_the_server_sees_the_copy_for_what_it_is(tmp_path: Path) -> None:
    _, capture = at_both_ends("old-duplicate", tmp_path)
    ladders = [arrows(rungs_from_capture([capture], one)) for one in find_connections([capture])]
    copies = [[said(arrow) for arrow in ladder if arrow.sent is None] for ladder in ladders]
    assert copies == [[], ["client ACK 1296:2256"], ["client ACK 1921:2881"], []]


def flights(rungs: Sequence[Rung]) -> list[tuple[float, float, str]]:
    """Return sending time, arrival time and description of each segment."""
    found = [moved(arrow, rungs[0].time) for arrow in arrows(rungs)]
    return sorted((arrow.sent or 0.0, arrow.received or 0.0, said(arrow)) for arrow in found)


def states(rungs: Sequence[Rung], end: End) -> list[int]:
    """Return the states of `end` in order of time."""
    known = [(rung.state_time(end), at, rung.state(end)) for at, rung in enumerate(rungs)]
    entered = sorted((time, at, state) for time, at, state in known if state is not None)
    return [state for state, _ in groupby(state for _, _, state in entered)]


# ---------------------------------------------------------------------- without comments


@pytest.mark.parametrize("name", NAMES)
def test_without_comments_the_numbers_tell_the_connection(name: str, tmp_path: Path) -> None:
    """Except a copy of an old segment, which then is in the connection that sent it."""
    captured = read(name, tmp_path)
    bare = [replace(one, comment="") for one in captured]
    numbered = [[connection.number for _, _, connection in assigned([one])] for one in (captured, bare)]
    copies = [at for at, one in enumerate(captured) if " copy " in one.comment]
    differ = [at for at, (with_comment, without) in enumerate(zip(*numbered, strict=True)) if with_comment != without]
    assert set(differ) <= set(copies)


def test_without_comments_a_copy_of_what_was_acknowledged_is_no_retransmission(tmp_path: Path) -> None:
    bare = [replace(one, comment="") for one in read("old-duplicate", tmp_path)]
    ladders = [arrows(rungs_from_capture([bare], one)) for one in find_connections([bare])]
    assert not any(arrow.retransmission for ladder in ladders for arrow in ladder)
    copies = [[said(arrow) for arrow in ladder if arrow.sent is None] for ladder in ladders]
    assert copies == [["client ACK 1921:2881"], [], ["client ACK 1921:2881"], []]


def test_without_comments_the_first_connection_does_not_end_at_the_lost_ack(tmp_path: Path) -> None:
    bare = [replace(one, comment="") for one in read("syn-hits-last-ack", tmp_path)]
    first, second, _ = find_connections([bare])
    rungs = rungs_from_capture([bare], first)
    assert [said(arrow) for arrow in arrows(rungs)][-3:] == ["client ACK 2", "server FIN,ACK 1", "client RST 2"]
    assert [arrow.retransmission for arrow in arrows(rungs)][-3:] == [False, True, False]
    assert [said(arrow) for arrow in arrows(rungs_from_capture([bare], second))] == ["client SYN 0", "server RST,ACK 0"]
