"""Ladders from captures: of one end, of both, of a simulated network, of others' TCP; read back as text."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytest

import utcp
from tests.trace.transfers import PORT, transfer
from utcp.tcp import timers
from utcp.tcp.state import CLOSE_WAIT, CLOSED, ESTABLISHED, FIN_WAIT_1, LAST_ACK, LISTEN, SYN_RCVD, SYN_SENT, TIME_WAIT
from utcp.testing import Network, NetworkCapture, nth
from utcp.trace.capture_file import Captured, read_capture
from utcp.trace.comments import Comment
from utcp.trace.connections import find_connections
from utcp.trace.ladder import Arrow, LadderRecorder, Rung, render_text
from utcp.trace.ladder.from_capture import marked_inferred, rungs_from_capture, shortened
from utcp.trace.ladder.rungs import End
from utcp.wire import ACK, FIN, PSH, RST, SYN, Segment

ADDRESSES: dict[End, tuple[str, int]] = {"client": ("192.0.2.1", 50000), "server": ("192.0.2.2", 80)}
ISN: dict[End, int] = {"client": 0xFFFFFFF0, "server": 1000}


class Tap:
    """A capture, made by hand: what somebody saw of a connection; times in milliseconds, numbers relative."""

    def __init__(self, ahead: float = 0.0) -> None:
        self.captured: list[Captured] = []
        self._ahead = ahead

    def see(
        self,
        ms: float,
        sender: End,
        flags: int,
        seq: int,
        ack: int,
        length: int = 0,
        comment: str = "",
        ts: int | None = None,
        port: int = 50000,
    ) -> None:
        peer: End = "server" if sender == "client" else "client"
        ports = {"client": port, "server": 80}
        segment = Segment(
            ports[sender],
            ports[peer],
            (ISN[sender] + seq) % 2**32,
            (ISN[peer] + ack) % 2**32 if flags & ACK else 0,
            flags,
            payload=bytes(length),
            ts_val=ts,
            ts_ecr=None if ts is None else 0,
        )
        source, destination = ((ADDRESSES[end][0], ports[end]) for end in (sender, peer))
        time_ns = round((ms + self._ahead) * 1e6)
        self.captured.append(Captured(time_ns, source, destination, segment, comment, udp=False))

    def open(self) -> None:
        self.see(0, "client", SYN, 0, 0)
        self.see(1, "server", SYN | ACK, 0, 1)
        self.see(2, "client", ACK, 1, 1)


def rungs_of(*captures: Sequence[Captured], number: int = 1) -> list[Rung]:
    return rungs_from_capture(captures, find_connections(captures)[number - 1])


def arrows_of(*captures: Sequence[Captured]) -> list[Arrow]:
    return [rung.arrow for rung in rungs_of(*captures) if rung.arrow]


def assert_ladder(rungs: Sequence[Rung], expected: str) -> None:
    text = render_text(rungs, 90)
    assert text == expected.removeprefix("\n"), "\n" + text


# ---------------------------------------------------------------------- one capture, without comments


def test_a_life_as_tcpdump_sees_it() -> None:
    tap = Tap()
    tap.open()
    tap.see(10, "client", PSH | ACK, 1, 1, 100)
    tap.see(11, "server", ACK, 1, 101)
    tap.see(20, "client", FIN | ACK, 101, 1)
    tap.see(21, "server", ACK, 1, 102)
    tap.see(30, "server", PSH | ACK, 1, 102, 5)
    tap.see(31, "client", ACK, 102, 6)
    tap.see(40, "server", FIN | ACK, 6, 102)
    tap.see(41, "client", ACK, 102, 7)
    assert_ladder(
        rungs_of(tap.captured),
        """
       ms  client      |                                                     | server
      0.0  CLOSED      |                                                     |
      0.0  SYN_SENT    |--- SYN seq=0 -------------------------------------->|
      1.0  ESTABLISHED |<---------------------------- SYN,ACK seq=0 ack=1 ---| SYN_RCVD
      2.0              |--- ACK seq=1 ack=1 -------------------------------->| ESTABLISHED
     10.0              |--- PSH,ACK seq=1:101 ack=1 len=100 ---------------->|
     11.0              |<------------------------------ ACK seq=1 ack=101 ---|
     20.0  FIN_WAIT_1  |--- FIN,ACK seq=101 ack=1 -------------------------->| CLOSE_WAIT
     21.0  FIN_WAIT_2  |<------------------------------ ACK seq=1 ack=102 ---|
     30.0              |<------------------ PSH,ACK seq=1:6 ack=102 len=5 ---|
     31.0              |--- ACK seq=102 ack=6 ------------------------------>|
     40.0  TIME_WAIT   |<-------------------------- FIN,ACK seq=6 ack=102 ---| LAST_ACK
     41.0              |--- ACK seq=102 ack=7 ------------------------------>| CLOSED
""",
    )
    assert {(arrow.sent == arrow.received) for arrow in arrows_of(tap.captured)} == {True}


def test_what_was_sent_again_may_not_have_arrived() -> None:
    """Seen on its way; the FIN and the last ACK are taken for lost because of what follows."""
    tap = Tap()
    tap.open()
    tap.see(20, "client", FIN | ACK, 1, 1)
    tap.see(220, "client", FIN | ACK, 1, 1)
    tap.see(221, "server", FIN | ACK, 1, 2)
    tap.see(222, "client", ACK, 2, 2)
    tap.see(421, "server", FIN | ACK, 1, 2)
    tap.see(422, "client", ACK, 2, 2)
    assert_ladder(
        rungs_of(tap.captured),
        """
       ms  client      |                                                     | server
      0.0  CLOSED      |                                                     |
      0.0  SYN_SENT    |--- SYN seq=0 -------------------------------------->|
      1.0  ESTABLISHED |<---------------------------- SYN,ACK seq=0 ack=1 ---| SYN_RCVD
      2.0              |--- ACK seq=1 ack=1 -------------------------------->| ESTABLISHED
     20.0  FIN_WAIT_1  |--- FIN,ACK seq=1 ack=1 ---------------------------->|
    220.0              |--- FIN,ACK seq=1 ack=1 (retransmission) ----------->| CLOSE_WAIT
    221.0              |<---------------------------- FIN,ACK seq=1 ack=2 ---| LAST_ACK
    222.0              |--- ACK seq=2 ack=2 -------------------------------->|
    421.0  TIME_WAIT   |<----------- FIN,ACK seq=1 ack=2 (retransmission) ---|
    422.0              |--- ACK seq=2 ack=2 -------------------------------->| CLOSED
""",
    )


def test_a_fin_does_not_count_before_the_data_that_was_lost() -> None:
    tap = Tap()
    tap.open()
    tap.see(10, "client", PSH | ACK, 1, 1, 100)
    tap.see(10, "client", FIN | ACK, 101, 1)
    tap.see(210, "client", PSH | ACK, 1, 1, 100)
    tap.see(211, "server", ACK, 1, 102)
    states = [(rung.time, rung.server) for rung in rungs_of(tap.captured) if rung.server]
    assert states == [(0.001, SYN_RCVD), (0.002, ESTABLISHED), (0.21, CLOSE_WAIT)]


def test_retransmitted_or_overtaken() -> None:
    """What fills a gap was sent again if its timestamp is newer than that of what came before; without timestamps, if
    it comes later than a network overtakes."""
    for ts, ms, again in ((None, 10.5, False), (None, 30, True), (100, 10.5, False), (130, 10.5, True)):
        tap = Tap()
        tap.open()
        tap.see(10, "client", ACK, 101, 1, 100, ts=None if ts is None else 100 + 5)
        tap.see(ms, "client", ACK, 1, 1, 100, ts=ts)
        assert [arrow.retransmission for arrow in arrows_of(tap.captured)][-2:] == [False, again]


def test_the_end_that_opened_is_the_client_whoever_is_seen_first() -> None:
    tap = Tap()
    tap.see(1, "server", SYN | ACK, 0, 1)
    tap.see(2, "client", ACK, 1, 1)
    arrows = arrows_of(tap.captured)
    assert [(arrow.sender, arrow.seq, arrow.ack) for arrow in arrows] == [("server", 0, 1), ("client", 1, 1)]


def test_without_the_opening_there_are_raw_numbers_and_no_states() -> None:
    tap = Tap()
    tap.see(5, "client", ACK, 500, 20, 100)
    tap.see(6, "server", FIN | ACK, 20, 600)
    rungs = rungs_of(tap.captured)
    assert [(rung.client, rung.server) for rung in rungs] == [(None, None)] * 2
    assert [arrow.seq for arrow in arrows_of(tap.captured)] == [(ISN["client"] + 500) % 2**32, 1020]


def test_refused() -> None:
    tap = Tap()
    tap.see(0, "client", SYN, 0, 0)
    tap.see(1, "server", RST | ACK, -1000, 1)
    rungs = rungs_of(tap.captured)
    assert [rung.client for rung in rungs] == [CLOSED, SYN_SENT, CLOSED]
    last = rungs[-1].arrow
    assert last is not None
    assert (last.seq, last.ack) == (0, 1)


def test_connections_are_told_apart() -> None:
    tap = Tap()
    tap.open()
    tap.see(5, "client", SYN, 0, 0, port=50001)
    tap.see(6, "server", RST | ACK, 0, 1, port=50001)
    found = find_connections([tap.captured])
    assert [(one.number, str(one.client), one.segments) for one in found] == [
        (1, "192.0.2.1:50000", 3),
        (2, "192.0.2.1:50001", 2),
    ]
    second = rungs_from_capture([tap.captured], found[1])
    assert [rung.arrow.flags for rung in second if rung.arrow] == [SYN, RST | ACK]
    assert second[0].time == 0.0  # its own zero


def test_a_late_segment_does_not_bring_back_the_state_of_an_earlier_connection() -> None:
    """The client has no TIME_WAIT. Its last ACK is lost, and the server repeats its FIN after the new SYN."""
    tap = Tap()
    tap.open()
    tap.see(10, "client", FIN | ACK, 1, 1)
    tap.see(11, "server", FIN | ACK, 1, 2)
    tap.see(12, "client", ACK, 2, 2)
    tap.see(20, "client", SYN, 500_000, 0)
    tap.see(21, "server", SYN | ACK, 700_000, 500_001)
    tap.see(22, "client", ACK, 500_001, 700_001)
    tap.see(30, "server", FIN | ACK, 1, 2)
    tap.see(31, "client", ACK, 500_001, 700_001)
    found = find_connections([tap.captured])
    rungs = rungs_from_capture([tap.captured], *found)
    assert len(found) == 2
    assert [(rung.client, rung.server) for rung in rungs[7:]] == [
        (SYN_SENT, None),
        (ESTABLISHED, SYN_RCVD),
        (None, ESTABLISHED),
        (None, None),
        (None, None),
    ]


def test_what_people_have_remarked_is_a_note() -> None:
    tap = Tap()
    tap.see(0, "client", SYN, 0, 0, comment="here it\x1bbegins\nclient direction=out state=SYN_SENT")
    rungs = rungs_of(tap.captured)
    assert [rung.note for rung in rungs if rung.note] == ["here it begins"]
    assert [rung.client for rung in rungs if rung.client is not None] == [CLOSED, SYN_SENT]


# ---------------------------------------------------------------------- both ends


def both_ends(ahead: float = 0.0) -> tuple[Tap, Tap]:
    """5 ms there and back. The first data is lost, an ACK too, the second data is doubled."""
    client, server = Tap(), Tap(ahead)

    def cross(ms: float, sender: End, flags: int, seq: int, ack: int, length: int = 0, arrivals: int = 1) -> None:
        near, far = (client, server) if sender == "client" else (server, client)
        near.see(ms, sender, flags, seq, ack, length)
        for number in range(arrivals):
            far.see(ms + 5 + number, sender, flags, seq, ack, length)

    cross(0, "client", SYN, 0, 0)
    cross(5, "server", SYN | ACK, 0, 1)
    cross(10, "client", ACK, 1, 1)
    cross(20, "client", PSH | ACK, 1, 1, 100, arrivals=0)
    cross(220, "client", PSH | ACK, 1, 1, 100)
    cross(225, "server", ACK, 1, 101, arrivals=0)
    cross(230, "client", PSH | ACK, 101, 1, 50, arrivals=2)
    cross(235, "server", ACK, 1, 151)
    return client, server


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("ahead", [0.0, -3.0, 40.0])
def test_what_left_one_end_and_never_came_at_the_other_is_lost(order: int, ahead: float) -> None:
    """Whichever capture is given first, and whatever the other's clock says."""
    client, server = both_ends(ahead)
    captures = (client.captured, server.captured)[::order]
    rungs = rungs_of(*captures)
    drawn = [rung.arrow for rung in rungs if rung.arrow]
    told = [
        (arrow.sender, arrow.seq, arrow.length, arrow.sent is not None, arrow.received is not None) for arrow in drawn
    ]
    assert told == [
        ("client", 0, 0, True, True),
        ("server", 0, 0, True, True),
        ("client", 1, 0, True, True),
        ("client", 1, 100, True, False),
        ("client", 1, 100, True, True),
        ("server", 1, 0, True, False),
        ("client", 101, 50, True, True),
        ("server", 1, 0, True, True),
        ("client", 101, 50, False, True),
    ]
    assert [arrow.retransmission for arrow in drawn].index(True) == 4
    flights = [arrow.received - arrow.sent for arrow in drawn if arrow.sent is not None and arrow.received is not None]
    if ahead in (0.0, 40.0):  # 40 ms: nothing would arrive before it was sent if not for the server's segments
        assert flights == pytest.approx([0.005] * 6)
    assert min(flights) > 0


def test_what_was_under_way_when_the_capture_ended_is_not_lost() -> None:
    client, server = both_ends()
    client.see(300, "client", PSH | ACK, 151, 1, 10)
    last = arrows_of(client.captured, server.captured)[-1]
    assert (last.seq, last.sent, last.received) == (151, 0.3, 0.3)


def test_network_cards_cut_segments_and_put_them_together() -> None:
    client, server = Tap(), Tap()
    client.open()
    for tap, delay in ((server, 5.0),):
        tap.see(0 + delay, "client", SYN, 0, 0)
        tap.see(1 - 0.5, "server", SYN | ACK, 0, 1)
        tap.see(2 + delay, "client", ACK, 1, 1)
    client.see(10, "client", PSH | ACK, 1, 1, 300)  # cut into three
    for number in range(3):
        server.see(15 + number, "client", ACK, 1 + 100 * number, 1, 100)
    for number in range(2):
        client.see(20 + number, "client", ACK, 301 + 100 * number, 1, 100)
    server.see(27, "client", PSH | ACK, 301, 1, 200)  # put together out of two
    sent = [arrow for arrow in arrows_of(client.captured, server.captured) if arrow.length]
    assert [(arrow.seq, arrow.length, arrow.sent, arrow.received) for arrow in sent] == [
        (1, 300, 0.01, 0.017),
        (301, 100, 0.02, 0.027),
        (401, 100, 0.021, 0.027),
    ]


# ---------------------------------------------------------------------- utcp's own, with comments


def life(tmp_path: Path, where: Literal["client", "both", "network"]) -> Path:
    path = tmp_path / f"{where}.pcapng"
    transfer(path, at=where, octets=4000)
    return path


def test_utcps_capture_of_both_ends_tells_all(tmp_path: Path) -> None:
    rungs = rungs_of(read_capture(life(tmp_path, "both")))
    assert rungs[0] == Rung(0.0, CLOSED, LISTEN)
    client = [rung.client for rung in rungs if rung.client is not None]
    server = [rung.server for rung in rungs if rung.server is not None]
    assert client == [CLOSED, SYN_SENT, ESTABLISHED, FIN_WAIT_1, TIME_WAIT]
    assert server == [LISTEN, SYN_RCVD, ESTABLISHED, CLOSE_WAIT, LAST_ACK, CLOSED]
    drawn = [rung.arrow for rung in rungs if rung.arrow]
    assert all(arrow.received - arrow.sent >= 0.02 for arrow in drawn if arrow.received and arrow.sent)
    data = next(arrow for arrow in drawn if arrow.length)
    assert data.at_sender["cwnd"] > 10_000
    assert "rto" in data.at_sender
    assert "rcv_wnd" in data.at_receiver


def test_of_one_end_the_other_is_inferred(tmp_path: Path) -> None:
    rungs = rungs_of(read_capture(life(tmp_path, "client")))
    assert [rung.server for rung in rungs if rung.server] == [SYN_RCVD, ESTABLISHED, CLOSE_WAIT, LAST_ACK]
    assert all(rung.arrow.sent == rung.arrow.received for rung in rungs if rung.arrow)


def test_a_simulated_run_tells_states_timers_and_losses(tmp_path: Path) -> None:
    """As `NetworkCapture` writes it: the client's FIN is lost once."""
    network = Network(seed=1)
    server, client = network.host("server"), network.host("client")
    network.link(server, client, latency=0.02)
    capture = NetworkCapture(network)

    async def serve() -> None:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()
            await writer.wait_closed()
            done.set()

        done = asyncio.Event()
        async with await utcp.start_server(handle, "0.0.0.0", PORT):
            await done.wait()

    async def scenario() -> None:
        serving = server.run(serve())
        await asyncio.sleep(0.1)

        async def talk() -> None:
            reader, writer = await utcp.open_connection("server", PORT)
            await asyncio.sleep(0.5)
            writer.close()
            await reader.read()
            await writer.wait_closed()

        await client.run(talk())
        await serving

    with network.rule(nth(1, lambda segment: segment.flags & FIN)):
        network.run(scenario())
    path = tmp_path / "run.pcapng"
    with path.open("wb") as file:
        capture.write(file)
    rungs = rungs_of(read_capture(path))
    lost = [rung for rung in rungs if rung.arrow and rung.arrow.received is None]
    assert [rung.client for rung in lost] == [FIN_WAIT_1]
    again = next(rung.arrow for rung in rungs if rung.arrow and rung.arrow.retransmission)
    assert again.timer in (timers.PROBE, timers.RETRANSMIT)
    server_states = [rung.server for rung in rungs if rung.server is not None]
    assert server_states == [LISTEN, SYN_RCVD, ESTABLISHED, CLOSE_WAIT, LAST_ACK, CLOSED]


def test_a_simulated_run_tells_when_segments_arrived(tmp_path: Path) -> None:
    """Both ends close at once: FINs and ACKs cross, and each state begins when something arrives."""
    network = Network(seed=1)
    capture = NetworkCapture(network)
    server, client = network.host("server"), network.host("client")
    network.link(client, server, latency=0.02)

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.08)  # at 0.06 it was called, at 0.04 the client was connected
        writer.close()

    async def ask() -> None:
        async with utcp.Endpoint((client.address, 7000)) as endpoint:
            _, writer = await endpoint.open_connection("server", PORT, local_port=50000)
            await asyncio.sleep(0.1)
            writer.close()
            await writer.wait_closed()

    async def listen() -> None:
        async with utcp.Endpoint((server.address, PORT)) as endpoint:
            await endpoint.start_server(serve, PORT)
            await client.run(ask())

    async def scenario() -> None:
        await server.run(listen())

    network.run(scenario())
    path = tmp_path / "crossing.pcapng"
    with path.open("wb") as file:
        capture.write(file)
    assert_ladder(
        rungs_of(read_capture(path)),
        """
       ms  client      |                                                     | server
      0.0  CLOSED      |                                                     | LISTEN
      0.0  SYN_SENT    |--- SYN seq=0 -------------------------------------->| SYN_RCVD
     20.0  ESTABLISHED |<---------------------------- SYN,ACK seq=0 ack=1 ---|
     40.0              |--- ACK seq=1 ack=1 -------------------------------->| ESTABLISHED
    140.0  FIN_WAIT_1  |--- FIN,ACK seq=1 ack=1 ---------------------------->|
    140.0  CLOSING     |<---------------------------- FIN,ACK seq=1 ack=1 ---| FIN_WAIT_1
    160.0              |<-------------------------------- ACK seq=2 ack=2 ---| CLOSING
    160.0              |--- ACK seq=2 ack=2 -------------------------------->| TIME_WAIT
    180.0  TIME_WAIT   |                                                     |
""",
    )


def test_a_doubled_segment_arrives_twice() -> None:
    tap = Tap()
    tap.open()
    tap.see(10, "client", PSH | ACK, 1, 1, 100, comment="flight=0.001,0.004 duplicated")
    found = [(arrow.sent, arrow.received) for arrow in arrows_of(tap.captured)[3:]]
    assert found == [(0.01, 0.011), (None, 0.014)]


def test_a_reset_closes_whatever_the_comment_says_of_the_state_before_it() -> None:
    tap = Tap()
    tap.open()
    tap.see(10, "server", RST, 1, 0, comment="server direction=out state=LAST_ACK timer=retransmit")
    assert rungs_of(tap.captured)[-1].server == CLOSED


def test_a_comment_says_what_segments_do_not_show() -> None:
    """TIME_WAIT has ended when the next segment arrives; a doubled segment arrived twice; pacing is no timeout."""
    tap = Tap()
    tap.see(0, "client", SYN, 0, 0, comment="direction=out state=SYN_SENT timer=pacing")
    tap.see(9000, "server", ACK, 1, 1, comment="direction=in state=CLOSED rcv_wnd=7")
    rungs = rungs_of(tap.captured)
    assert [(rung.time, rung.client) for rung in rungs] == [(0.0, CLOSED), (0.0, SYN_SENT), (9.0, CLOSED), (9.0, None)]
    assert [rung.arrow.timer for rung in rungs if rung.arrow] == [None, None]
    assert rungs[-1].arrow is not None
    assert rungs[-1].arrow.at_receiver == {"direction": "in", "state": "CLOSED", "rcv_wnd": 7}
    tap = Tap()
    tap.see(0, "client", SYN, 0, 0, comment="direction=out state=SYN_SENT timer=retransmit duplicated")
    first, second = arrows_of(tap.captured)
    assert (first.timer, first.sent, second.sent, second.received) == (timers.RETRANSMIT, 0.0, None, 0.0)


# ---------------------------------------------------------------------- long ones


@pytest.mark.parametrize(
    ("known", "note"),
    [
        ((), "The states of both ends are inferred from the segments."),
        (("client",), "The states of the server are inferred from the segments."),
        (("server",), "The states of the client are inferred from the segments."),
        (("client", "server"), None),
    ],
)
def test_inferred_states_are_said_to_be_inferred(known: tuple[str, ...], note: str | None) -> None:
    comment: Comment = {"state": "SYN_SENT"}
    at_sender, at_receiver = (comment if end in known else Comment() for end in ("client", "server"))
    arrow = Arrow(
        "client", SYN, 0, None, 0, 1.0, 1.0, retransmission=False, at_sender=at_sender, at_receiver=at_receiver
    )
    rungs = [Rung(1.0, SYN_SENT, SYN_RCVD, arrow)]
    assert marked_inferred(rungs) == ([] if note is None else [Rung(1.0, note=note)]) + rungs


def test_states_that_are_unknown_are_not_inferred() -> None:
    rungs = [Rung(1.0, arrow=Arrow("client", ACK, 0, 1, 0, 1.0, 1.0, retransmission=False))]
    assert marked_inferred(rungs) == rungs
    assert marked_inferred([]) == []


def test_long_ladders_are_shortened_in_the_middle() -> None:
    tap = Tap()
    tap.open()
    for number in range(100):
        tap.see(10 + number, "client", ACK, 1 + number, 1, 1)
    tap.see(200, "client", FIN | ACK, 101, 1)
    tap.see(201, "server", FIN | ACK, 1, 102)
    rungs = rungs_of(tap.captured)
    assert shortened(rungs, 1000) == rungs
    short = shortened(rungs, 10)
    assert short[:5] == rungs[:5]
    assert short[-5:] == rungs[-5:]
    assert short[5].note == f"... {len(rungs) - 10} segments are not shown ..."
    assert len(short) == 11  # no state changed meanwhile
    without_opening = shortened(rungs, 2)
    assert without_opening[2].client == FIN_WAIT_1
    assert without_opening[2].server == CLOSE_WAIT


@pytest.mark.parametrize(("until", "ends"), [(60_200, True), (60_039, False)])
def test_the_end_of_time_wait_is_known_from_its_timer(until: float, ends: bool) -> None:
    """If the capture goes on until then."""
    tap = Tap()
    tap.open()
    tap.see(20, "client", FIN | ACK, 1, 1)
    tap.see(30, "server", FIN | ACK, 1, 2)
    tap.see(40, "client", ACK, 2, 2, comment="client direction=out state=TIME_WAIT running=time_wait:60")
    tap.see(until, "client", SYN, 7, 0, port=50001)
    rungs = rungs_of(tap.captured)
    assert (rungs[-1] == Rung(60.04, CLOSED)) is ends


def test_ports_reused_from_time_wait_are_as_recorded(tmp_path: Path) -> None:
    """The server has closed first, and is in TIME_WAIT when the client's next SYN arrives."""
    network = Network(seed=1)
    recorder = LadderRecorder()
    server, client = network.host("server"), network.host("client")
    network.link(server, client, latency=0.02)
    capture = NetworkCapture(network)
    captured: list[bytes] = []

    async def serve() -> None:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(0.1)
            writer.close()
            await writer.wait_closed()

        async with utcp.Endpoint(("0.0.0.0", PORT), observer=recorder.server) as endpoint:
            await endpoint.start_server(handle, PORT)
            await asyncio.sleep(3600)

    async def talk() -> None:
        async with utcp.Endpoint(observer=recorder.client) as endpoint:
            for _ in range(2):
                reader, writer = await endpoint.open_connection("server", PORT, local_port=50000)
                await reader.read()
                writer.close()
                await writer.wait_closed()
                await asyncio.sleep(1)
        file = io.BytesIO()
        capture.write(file)
        captured.append(file.getvalue())

    async def scenario() -> None:
        serving = server.run(serve())
        await client.run(talk())
        serving.cancel()

    network.run(scenario())
    path = tmp_path / "run.pcapng"
    path.write_bytes(captured[0])
    read = read_capture(path)
    connections = find_connections([read])
    assert len(connections) == 2
    assert_ladder(rungs_from_capture([read], *connections), render_text(recorder.rungs(), 90))
