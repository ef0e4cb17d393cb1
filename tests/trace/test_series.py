"""What is made of a capture for plots: connections told apart, and the series of one direction."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.trace.transfers import PORT, Capturing, transfer
from utcp.trace.capture_file import Captured, read_capture
from utcp.trace.connections import End, assigned, find_connections
from utcp.trace.series import Block, Mark, Point, Series, series_of
from utcp.wire import ACK, FIN, PSH, RST, SYN, Segment

CLIENT = End("192.0.2.1", None, 50000)
SERVER = End("192.0.2.2", None, 80)
ISN = {CLIENT: 2**32 - 500, SERVER: 1000}  # the client's numbers wrap


class Wire:
    """A capture made by hand; times in milliseconds, numbers relative to the SYNs."""

    def __init__(self) -> None:
        self.captured: list[Captured] = []

    def see(
        self,
        ms: int,
        sender: End,
        flags: int,
        seq: int,
        ack: int = 0,
        length: int = 0,
        comment: str = "",
        window: int = 1000,
        ts: tuple[int, int] | None = None,
        scale: int | None = None,
        sack: tuple[tuple[int, int], ...] = (),
    ) -> None:
        receiver = SERVER if sender == CLIENT else CLIENT
        segment = Segment(
            sender.tcp_port,
            receiver.tcp_port,
            (ISN[sender] + seq) % 2**32,
            (ISN[receiver] + ack) % 2**32 if flags & ACK else 0,
            flags,
            window,
            bytes(length),
            ts_val=ts[0] if ts else None,
            ts_ecr=ts[1] if ts else None,
            window_scale=scale,
            sack_blocks=tuple(((ISN[receiver] + low) % 2**32, (ISN[receiver] + high) % 2**32) for low, high in sack),
        )
        source, destination = ((end.host, end.tcp_port) for end in (sender, receiver))
        self.captured.append(Captured(5_000_000_000 + ms * 1_000_000, source, destination, segment, comment, udp=False))

    def open(self, scale: int | None = 2) -> None:
        self.see(0, CLIENT, SYN, 0, scale=scale)
        self.see(10, SERVER, SYN | ACK, 0, 1, scale=scale)
        self.see(20, CLIENT, ACK, 1, 1)

    def series(self, sender: End = CLIENT) -> Series:
        (connection,) = find_connections([self.captured])
        return series_of([self.captured], connection, "client" if connection.client == sender else "server")


@pytest.fixture
def wire() -> Wire:
    return Wire()


def test_text_and_what_is_acknowledged_are_relative_and_do_not_wrap(wire: Wire) -> None:
    wire.open()
    wire.see(30, CLIENT, ACK, 1, 1, 400)
    wire.see(30, CLIENT, PSH | ACK, 401, 1, 400)
    wire.see(50, SERVER, ACK, 1, 801)
    series = wire.series()
    assert [(span.time, span.low, span.high, span.again) for span in series.spans] == [
        (0.03, 1, 401, False),
        (0.03, 401, 801, False),
    ]
    assert series.acks == [Point(0.01, 1), Point(0.05, 801)]
    assert series.window == [Point(0.01, 1001), Point(0.05, 801 + 4000)]
    assert series.window_scaled
    assert [point.value for point in series.outstanding] == [1, 0, 0, 400, 800, 0]
    assert [(point.time, round(point.value, 6)) for point in series.round_trips] == [(0.01, 0.01), (0.05, 0.02)]
    assert series.end == 0.05
    back = wire.series(SERVER)
    assert back.spans == []
    assert [point.value for point in back.acks] == [1, 1, 1]


def test_the_scale_of_a_window_is_known_if_both_syns_are(wire: Wire) -> None:
    wire.see(0, CLIENT, ACK, 1, 1, 10)
    wire.see(5, SERVER, ACK, 1, 11)
    series = wire.series()
    assert not series.window_scaled
    assert series.window == [Point(0.005, 10 + 1000)]  # without a SYN, the first number seen is 0
    plain = Wire()
    plain.open(scale=None)
    plain.see(30, SERVER, ACK, 1, 1)
    assert plain.series().window_scaled
    assert plain.series().window[-1] == Point(0.03, 1001)


def test_what_was_sent_before_is_sent_again(wire: Wire) -> None:
    wire.open()
    for ms, seq in ((30, 1), (31, 101), (60, 1), (61, 101), (62, 151), (63, 251)):
        wire.see(ms, CLIENT, ACK, seq, 1, 100)
    assert [span.again for span in wire.series().spans] == [False, False, True, True, True, False]


def test_round_trips_of_what_was_sent_twice_need_timestamps(wire: Wire) -> None:
    wire.open()
    wire.see(100, CLIENT, ACK, 1, 1, 100)
    wire.see(300, CLIENT, ACK, 1, 1, 100)
    wire.see(320, SERVER, ACK, 1, 101)  # of which of the two? (Karn)
    assert [point.time for point in wire.series().round_trips] == [0.01]
    with_timestamps = Wire()
    with_timestamps.open()
    with_timestamps.see(100, CLIENT, ACK, 1, 1, 100, ts=(1100, 5))
    with_timestamps.see(300, CLIENT, ACK, 1, 1, 100, ts=(1300, 5))
    with_timestamps.see(320, SERVER, ACK, 1, 101, ts=(6, 1300))
    _, second = with_timestamps.series().round_trips
    assert (second.time, round(second.value, 6)) == (0.32, 0.02)


def test_sack_blocks_and_those_of_what_came_twice(wire: Wire) -> None:
    wire.open()
    for seq in (1, 101, 201, 301):
        wire.see(30, CLIENT, ACK, seq, 1, 100)
    wire.see(50, SERVER, ACK, 1, 101, sack=((1, 101), (201, 301), (301, 401)))
    assert wire.series().blocks == [Block(0.05, 201, 301), Block(0.05, 301, 401)]


def test_marks(wire: Wire) -> None:
    wire.open()
    wire.see(30, CLIENT, FIN | ACK, 1, 1, 50)
    wire.see(40, SERVER, FIN | ACK, 1, 52)
    wire.see(50, SERVER, RST, 2)
    wire.see(60, CLIENT, RST | ACK, -ISN[CLIENT], 0)  # its sequence number is 0: it answers a segment without ACK
    assert wire.series().marks == [
        Mark(0.0, 0, "SYN", by_sender=True),
        Mark(0.01, 1, "SYN", by_sender=False),
        Mark(0.03, 51, "FIN", by_sender=True),
        Mark(0.04, 52, "FIN", by_sender=False),
        Mark(0.05, 52, "RST", by_sender=False),
        Mark(0.06, 52, "RST", by_sender=True),
    ]
    assert [(span.low, span.high) for span in wire.series().spans] == [(1, 51)]


def test_only_the_sender_s_own_comments_tell_of_its_windows(wire: Wire) -> None:
    def told(direction: str, cwnd: int) -> str:
        return f"direction={direction} state=ESTABLISHED cwnd={cwnd} ssthresh=9 in_flight=5 srtt=0.01 rto=0.2"

    wire.see(0, CLIENT, ACK, 1, 1, 10, comment=told("out", 100))
    wire.see(1, SERVER, ACK, 1, 11, comment=told("in", 200))
    wire.see(2, SERVER, ACK, 1, 11, comment=told("out", 300))  # the server's
    wire.see(3, CLIENT, ACK, 11, 1, 10, comment=told("in", 400))
    wire.see(4, CLIENT, ACK, 21, 1, 10, comment="direction=out state=ESTABLISHED timer=retransmit")
    series = wire.series()
    assert series.cwnd == [Point(0.0, 100), Point(0.001, 200)]
    assert (series.ssthresh[0].value, series.in_flight[0].value) == (9, 5)
    assert (series.srtt[1], series.rto[1]) == (Point(0.001, 0.01), Point(0.001, 0.2))
    assert series.spans[-1].timer == "retransmit"
    assert [point.value for point in wire.series(SERVER).cwnd] == [300, 400]


def test_what_both_ends_saw_is_drawn_once_and_what_one_missed_is_lost(wire: Wire) -> None:
    """Unless it may still be under way when the capture ends."""
    told = "direction={} state=ESTABLISHED"
    wire.see(0, SERVER, ACK, 1, 1, comment=told.format("out"))
    for ms, seq, arrives in ((0, 1, True), (1, 101, False), (2, 201, True), (3, 301, False)):
        wire.see(ms, CLIENT, ACK, seq, 1, 100, comment=told.format("out"))
        if arrives:
            wire.see(ms + 20, CLIENT, ACK, seq, 1, 100, comment=told.format("in"))
    assert [(span.time, span.lost, span.again) for span in wire.series().spans] == [
        (0.0, False, False),
        (0.001, True, False),
        (0.002, False, False),
        (0.003, False, False),
    ]


def test_connections_on_the_same_ports_are_told_apart_by_their_syns(wire: Wire) -> None:
    wire.see(0, SERVER, PSH | ACK, 5, 5, 100)  # the rest of one whose beginning was not captured
    wire.see(10, CLIENT, SYN, 0)
    wire.see(20, CLIENT, SYN, 0)  # the same again
    wire.see(30, SERVER, SYN | ACK, 0, 1)
    wire.see(40, CLIENT, SYN, 70_000)
    assert [connection.number for _, _, connection in assigned([wire.captured])] == [1, 2, 2, 2, 3]
    first, second, _ = find_connections([wire.captured])
    assert (first.client, first.server, first.octets) == (SERVER, CLIENT, {SERVER: 100})
    assert (second.client, second.server, second.segments) == (CLIENT, SERVER, 3)


def test_who_answers_a_syn_is_the_server_and_both_may_open_at_once(wire: Wire) -> None:
    wire.see(0, SERVER, SYN | ACK, 0, 1)
    wire.see(10, CLIENT, ACK, 1, 1)
    simultaneous = Wire()
    simultaneous.see(0, CLIENT, SYN, 0)
    simultaneous.see(1, SERVER, SYN, 0)
    for one in (wire, simultaneous):
        (connection,) = find_connections([one.captured])
        assert connection.client == CLIENT


@pytest.mark.parametrize(
    ("end", "text"),
    [
        (End("192.0.2.1", None, 80), "192.0.2.1:80"),
        (End("192.0.2.1", 9000, 9000), "192.0.2.1:9000"),
        (End("2001:db8::1", 7000, 80), "[2001:db8::1]:80 (UDP 7000)"),
    ],
)
def test_how_ends_print(end: End, text: str) -> None:
    assert str(end) == text


# --- of real transfers: every way of capturing one shows the same of it


def of_client(path: Path) -> Series:
    captured = read_capture(path)
    (connection,) = find_connections([captured])
    assert connection.server.tcp_port == PORT
    return series_of([captured], connection, "client")


@pytest.mark.parametrize("at", ["client", "both", "network"])
def test_what_was_sent_again_is_what_the_stack_counted(tmp_path: Path, at: Capturing) -> None:
    path = tmp_path / "capture.pcapng"
    ends = transfer(path, at=at, loss=0.05, octets=200_000)
    series = of_client(path)
    counted = ends["client"].stack.counters.retrans_segs
    assert counted
    assert sum(span.again for span in series.spans) == counted
    assert {octet for span in series.spans for octet in (span.low, span.high)} >= {1, 200_001}
    assert series.acks[-1].value == 200_002  # with SYN and FIN


def test_both_ends_together_know_what_was_lost_as_the_network_does(tmp_path: Path) -> None:
    found = []
    capturings: tuple[Capturing, Capturing] = ("both", "network")
    for at in capturings:
        transfer(tmp_path / at, at=at, loss=0.05, octets=200_000)
        found.append([(span.time, span.low) for span in of_client(tmp_path / at).spans if span.lost])
    assert found[0] == found[1]
    assert len(found[0]) > 3


def test_windows_and_times_are_known_at_the_sender(tmp_path: Path) -> None:
    path = tmp_path / "capture.pcapng"
    transfer(path, at="client", loss=0.05, octets=200_000)
    series = of_client(path)
    assert len(series.cwnd) == len(series.in_flight) > 100
    assert series.ssthresh
    assert all(point.value >= 0.04 for point in series.srtt)  # 20 ms there, 20 ms back
    assert all(point.value >= 0.04 for point in series.round_trips)
    assert min(point.value for point in series.round_trips) < 0.045
    path = tmp_path / "network.pcapng"
    transfer(path, at="network", loss=0.05, octets=200_000)
    series = of_client(path)
    assert series.cwnd == series.srtt == []
    assert min(point.value for point in series.round_trips) == pytest.approx(0.04, abs=0.005)  # the network tells both
