"""Bad input: malformed bytes, every flag combination in every state, random traffic. Nothing raises, nothing breaks.

What the stack does with each is checked against RFC 9293 3.10.7, not against itself.
"""

from collections.abc import Callable
from functools import partial
from struct import pack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tcp.reach import (
    close_wait,
    closed,
    closing,
    established,
    fin_wait_1,
    fin_wait_2,
    last_ack,
    simultaneous_open,
    syn_rcvd,
    syn_sent,
    time_wait,
)
from tests.tcp.script import MSS, Script
from tests.variant import examples
from utcp.tcp.state import (
    CLOSE_WAIT,
    CLOSED,
    CLOSING,
    ESTABLISHED,
    FIN_WAIT_1,
    FIN_WAIT_2,
    LAST_ACK,
    SYN_RCVD,
    SYN_SENT,
    TIME_WAIT,
)
from utcp.wire import ACK, FIN, RST, SYN, Segment, encode, flag_names
from utcp.wire.seq import add


def listening() -> Script:
    t = Script()
    t.listen()
    return t


REACH: dict[str, Callable[[], Script]] = {
    "CLOSED": closed,
    "LISTEN": listening,
    "SYN_SENT": syn_sent,
    "SYN_RCVD": syn_rcvd,
    "SYN_RCVD, active": simultaneous_open,
    "ESTABLISHED": established,
    "FIN_WAIT_1": fin_wait_1,
    "FIN_WAIT_2": fin_wait_2,
    "FIN_WAIT_2, half-closed": partial(fin_wait_2, half=True),
    "CLOSE_WAIT": close_wait,
    "CLOSING": closing,
    "LAST_ACK": last_ack,
    "TIME_WAIT": time_wait,
}
in_every_state = pytest.mark.parametrize("reach", REACH.values(), ids=REACH.keys())


# --- bytes that are no segment


def header(words: int, options: bytes = b"", ports: tuple[int, int] = (80, 50000)) -> bytes:
    """A header whose data offset says `words`, whatever follows; flags ACK, numbers 0."""
    return pack("!HHIIHHHH", *ports, 0, 0, words << 12 | ACK, 1000, 0, 0) + options


MALFORMED = {
    "nothing": b"",
    "one octet": b"\x00",
    "ports only": pack("!HH", 80, 50000),
    "19 octets": header(5)[:19],
    "data offset 0": header(0),
    "data offset 4": header(4),
    "data offset past the end": header(6),
    "data offset past the end of the options": header(15, b"\x01" * 39),
    "option length 0": header(6, b"\x08\x00\x01\x01"),
    "option length 1": header(6, b"\x08\x01\x01\x01"),
    "unknown option of length 0": header(6, b"\xfd\x00\x00\x00"),
    "unknown option of length 1": header(6, b"\xfd\x01\x00\x00"),
    "option past the header": header(6, b"\x02\x05\x05\xb4"),
    "unknown option past the header": header(6, b"\xfd\xff\x00\x00"),
    "option without length": header(6, b"\x01\x01\x01\x02"),
    "MSS of length 3": header(6, b"\x02\x03\x05\x00"),
    "window scale of length 4": header(6, b"\x03\x04\x07\x00"),
    "SACK-permitted of length 3": header(6, b"\x04\x03\x00\x00"),
    "SACK of length 2": header(6, b"\x05\x02\x00\x00"),
    "SACK of length 9": header(8, b"\x05\x09" + bytes(10)),
    "timestamps of length 9": header(8, b"\x08\x09" + bytes(10)),
}


@in_every_state
@pytest.mark.rfc9293("MUST-7")
def test_malformed_datagrams_change_nothing(reach: Callable[[], Script]) -> None:
    """MUST-7: dropped, counted, never raised."""
    t = reach()
    state = t.state
    for number, data in enumerate(MALFORMED.values(), start=1):
        t.receives_bytes(data)
        t.silent()
        assert t.stack.counters.in_errs == number
    assert t.state == state


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_connection_goes_on_after_a_malformed_datagram(data: bytes) -> None:
    t = established()
    swapped = pack("!HH", t.flow.remote_port, t.flow.local_port) + data[4:]
    t.receives_bytes(swapped if len(data) >= 20 else data)
    t.silent()
    t.receives("P. 1:101 ack 1")
    assert t.read() == 100
    t.close()
    t.sends("F. 1:1 ack 101")


@pytest.mark.rfc9293("MUST-6", "MUST-64")
def test_unknown_options_are_skipped() -> None:
    """MUST-6, MUST-64: at any alignment."""
    t = Script()
    t.listen()
    options = b"\xfd\x05abc" + b"\x02\x04" + pack("!H", 700) + b"\x00\x00\x00"
    t.receives_bytes(pack("!HHIIHHHH", 50000, 80, t.flow.peer_iss, 0, 8 << 12 | SYN, 1000, 0, 0) + options)
    t.sends("S. 0:0 ack 1")
    t.receives(". 1:1 ack 1 win 5000")
    t.accept()
    t.write(1000)
    t.sends(". 1:701 ack 1", "P. 701:1001 ack 1")


@pytest.mark.rfc9293("MUST-4")
def test_octets_after_the_end_of_the_option_list_are_ignored() -> None:
    """MUST-69 is the sender's duty."""
    t = Script()
    t.listen()
    options = b"\x00\xff\xff\xff"
    t.receives_bytes(pack("!HHIIHHHH", 50000, 80, t.flow.peer_iss, 0, 6 << 12 | SYN, 1000, 0, 0) + options)
    t.sends("S. 0:0 ack 1")


def test_reserved_bits_and_urgent_pointer_are_ignored() -> None:
    t = established()
    segment = encode(t.flow.segment("P. 1:101 ack 1"))
    t.receives_bytes(segment[:12] + bytes([segment[12] | 0x0F]) + segment[13:18] + b"\xff\xff" + segment[20:])
    assert t.read() == 100


@pytest.mark.parametrize("ports", [(0, 80), (50000, 0), (0, 0)])
def test_port_0_opens_nothing(ports: tuple[int, int]) -> None:
    t = listening()
    t.receives_bytes(encode(Segment(*ports, 5, 0, SYN, 1000)))
    t.drain()
    assert not t.stack.connections


@in_every_state
def test_random_bytes(reach: Callable[[], Script]) -> None:
    t = reach()

    @settings(max_examples=examples(50), deadline=None, derandomize=True, database=None)
    @given(st.binary(max_size=100), st.one_of(st.none(), st.integers(1, 200)))
    def feed(data: bytes, segment_size: int | None) -> None:
        before = t.stack.counters.in_segs
        t.receives_bytes(data, segment_size)
        t.drain()
        assert t.stack.counters.in_segs > before

    feed()


# --- every combination of the eight flags in every state


def expected(state: int, flags: int) -> set[int]:
    """The states that RFC 9293 3.10.7 allows after a segment with SEQ = RCV.NXT and ACK = SND.NXT."""
    syn, fin, rst, ack = (bool(flags & bit) for bit in (SYN, FIN, RST, ACK))
    if state == SYN_SENT:
        if rst:
            return {CLOSED} if ack else {SYN_SENT}
        if not syn:
            return {SYN_SENT}
        if not ack:
            return {SYN_RCVD}
        return {ESTABLISHED, CLOSE_WAIT} if fin else {ESTABLISHED}
    if state == TIME_WAIT:
        return {TIME_WAIT}
    if rst:
        return {CLOSED}
    if syn:
        return {SYN_RCVD, CLOSED} if state == SYN_RCVD else {state}  # back to LISTEN after a passive open
    if not ack:
        return {state}
    after = {SYN_RCVD: ESTABLISHED, FIN_WAIT_1: FIN_WAIT_2, CLOSING: TIME_WAIT, LAST_ACK: CLOSED}.get(state, state)
    if fin:
        after = {ESTABLISHED: CLOSE_WAIT, FIN_WAIT_2: TIME_WAIT}.get(after, after)
    return {after}


@pytest.mark.parametrize("reach", list(REACH.values())[2:], ids=list(REACH)[2:])
def test_every_flag_combination_with_the_expected_numbers(reach: Callable[[], Script]) -> None:
    for flags in range(256):
        t = reach()
        state = t.state
        nxt, rcv = numbers(state)
        arrives(t, flags, rcv, nxt)
        t.drain()
        assert t.state in expected(state, flags), f"{flag_names(flags)}\n" + "\n".join(t.trace)


def numbers(state: int) -> tuple[int, int]:
    """Our SND.NXT and RCV.NXT in the states that REACH reaches."""
    nxt = 2 if state in (FIN_WAIT_1, FIN_WAIT_2, CLOSING, LAST_ACK, TIME_WAIT) else 1
    rcv = 2 if state in (CLOSE_WAIT, CLOSING, LAST_ACK, TIME_WAIT) else 0 if state == SYN_SENT else 1
    return nxt, rcv


def arrives(t: Script, flags: int, seq: int, ack: int, payload: bytes = b"") -> None:
    flow = t.flow
    segment = Segment(
        flow.remote_port,
        flow.local_port,
        add(flow.peer_iss, seq),
        add(flow.our_iss or 0, ack) if flags & ACK else 0,
        flags,
        60_000,
        payload,
        mss=MSS if flags & SYN else None,
    )
    t.receives_bytes(encode(segment))


@in_every_state
@pytest.mark.parametrize("offset", [-1, -100_000, 1 << 25, 1 << 31])
def test_every_flag_combination_outside_the_window(reach: Callable[[], Script], offset: int) -> None:
    """Where there is a connection, at most an ACK is the answer, and the state stays (RFC 9293 3.10.7.4, first). The
    ACK field of a segment that is not too old is read, and acknowledges nothing new here."""
    t = reach()
    state = t.state
    if state in (CLOSED, SYN_SENT):
        return
    nxt, rcv = numbers(state)
    una = nxt - (state in (FIN_WAIT_1, CLOSING, LAST_ACK))
    for flags in range(256):
        if state == TIME_WAIT and flags & (FIN | SYN):
            continue  # test_time_wait: they may restart it or renew it
        if state == SYN_RCVD and flags & SYN and not flags & RST and offset == -1:
            continue  # test_open: the peer's SYN again, or its SYN-ACK in a simultaneous open
        arrives(t, flags, rcv + offset, una)
        for segment in t.drain():
            assert not segment.flags & RST or flags & SYN, flag_names(flags)
        assert t.state == state, flag_names(flags)


@in_every_state
def test_every_flag_combination_with_an_ack_of_unsent_data(reach: Callable[[], Script]) -> None:
    for flags in range(256):
        if flags & RST or not flags & ACK:
            continue
        t = reach()
        state = t.state
        nxt, rcv = numbers(state)
        arrives(t, flags, rcv, nxt + 1000, b"data")
        t.drain()
        assert t.state in ({SYN_RCVD, CLOSED} if state == SYN_RCVD else {state}), flag_names(flags)
        if t.flow.key in t.stack.connections and hasattr(t, "connection"):
            assert t.connection.readable == 0


@pytest.mark.parametrize("flags", range(256))
def test_every_flag_combination_at_a_listener(flags: int) -> None:
    """RFC 9293 3.10.7.2: only a SYN opens; only an ACK is answered with RST; a RST with nothing."""
    t = listening()
    arrives(t, flags, 0, 1000)
    answers = [segment.flags & (SYN | RST | ACK) for segment in t.drain()]
    if flags & RST:
        assert answers == []
    elif flags & ACK:
        assert answers == [RST]
    elif flags & SYN:
        assert answers == [SYN | ACK]
        assert t.state == SYN_RCVD
    else:
        assert answers == []


@pytest.mark.parametrize("flags", range(256))
def test_every_flag_combination_without_connection_or_listener(flags: int) -> None:
    """RFC 9293 3.10.7.1."""
    t = closed()
    arrives(t, flags, 0, 1000)
    answers = [segment.flags for segment in t.drain()]
    if flags & RST:
        assert answers == []
    else:
        assert answers == [RST if flags & ACK else RST | ACK]
    assert not t.stack.connections


# --- random traffic


segments = st.tuples(
    st.integers(0, 255),
    st.one_of(st.integers(-3, 3), st.integers(-2000, 70_000), st.integers(0, 2**32 - 1)),
    st.one_of(st.integers(-3, 3), st.integers(0, 2**32 - 1)),
    st.binary(max_size=30),
    st.one_of(st.integers(0, 3), st.just(0.05), st.just(0.3)),
)


@in_every_state
def test_random_segments(reach: Callable[[], Script]) -> None:
    """The script's rules hold throughout, and once the user gives up everything ends."""

    @settings(max_examples=examples(60), deadline=None, derandomize=True, database=None)
    @given(st.lists(segments, max_size=12))
    def run(traffic: list[tuple[int, int, int, bytes, float]]) -> None:
        t = reach()
        for flags, seq, ack, payload, wait in traffic:
            arrives(t, flags, seq, ack, payload)
            assert len(t.drain()) <= 3
            t.advance(wait)
            t.drain()
        end(t)

    run()


def end(t: Script) -> None:
    """The user gives up: everything must go away by itself."""
    if t.stack.listeners:
        t.listener.close(t.now)
    for connection in list(t.stack.connections.values()):
        connection.abort(t.now)
    t.drain()
    t.advance(700)
    t.drain()
    assert not t.stack.connections
    assert not t.stack.time_wait
    assert t.stack.next_timeout() is None


@in_every_state
def test_random_segments_without_the_user_giving_up(reach: Callable[[], Script]) -> None:
    """A connection that its user closed ends, whatever arrived before."""

    @settings(max_examples=examples(30), deadline=None, derandomize=True, database=None)
    @given(st.lists(segments, max_size=6))
    def run(traffic: list[tuple[int, int, int, bytes, float]]) -> None:
        t = reach()
        for flags, seq, ack, payload, _ in traffic:
            arrives(t, flags, seq, ack, payload)
            t.drain()
        if t.stack.listeners:
            t.listener.close(t.now)
        for connection in list(t.stack.connections.values()):
            connection.close(t.now)
        t.drain()
        t.advance(700)
        t.drain()
        assert not t.stack.connections
        assert not t.stack.time_wait
        assert t.stack.next_timeout() is None

    run()
