"""Attackers who see nothing of a connection, know its addresses and ports, and forge segments (RFC 5961, 6528, 6056).

Each test says with what probability one forged segment succeeds, and shows it by the numbers that do and do not: all
edges, and a sample of the 2^32 between them.
"""

import errno
from collections import Counter
from random import Random

import pytest

from tests.tcp.reach import established, syn_sent, time_wait
from tests.tcp.script import MSS, SECRET, START, Script
from utcp.errors import ConnectionReset
from utcp.tcp.isn import SequenceNumbers
from utcp.tcp.ports import EphemeralPorts
from utcp.tcp.state import ESTABLISHED, SYN_SENT, TIME_WAIT
from utcp.wire import ACK, Segment, encode
from utcp.wire.seq import diff

WINDOW = 65535
SPACE = 1 << 32


def quiet() -> Script:
    """Nothing in flight either way; our window is 65,535 octets, the peer's too."""
    return established(recv_buffer=WINDOW, delayed_ack=0)


def offsets(seed: int, *edges: int) -> list[int]:
    """Distances from the right number: the edges and their neighbours, and 300 from anywhere; never 0."""
    random = Random(seed)
    found = {edge + step for edge in edges for step in (-1, 0, 1)}
    found |= {random.randrange(-(1 << 31), 1 << 31) for _ in range(300)}
    return sorted(found - {0})


def test_blind_reset() -> None:
    """RFC 5961 3.2: 2^-32. One sequence number resets, RCV.NXT; the window's 65,534 others get a challenge ACK, whose
    true recipient, if it meant it, would send the right one (before RFC 5961: 65,535 numbers of 2^32, 2^-16)."""
    t = quiet()
    for offset in offsets(1, 0, WINDOW, 1 << 16, 1 << 31 - 1, -(1 << 31) + 1):
        t.advance(1)
        t.receives(f"R {1 + offset}:{1 + offset}")
        answers = t.drain()
        assert len(answers) == (0 < offset < WINDOW), offset
        assert t.state == ESTABLISHED
    t.receives("R 1:1")
    assert isinstance(t.error, ConnectionReset)


@pytest.mark.parametrize("flags", ["R", "R."])
def test_blind_reset_with_any_acknowledgement(flags: str) -> None:
    """RFC 5961 3.2: what an RST acknowledges plays no part in a synchronized state, right or wrong."""
    t = quiet()
    for ack in (0, 1, 2, 1 << 31):
        t.advance(1)
        t.receives(f"{flags} 2:2" + (f" ack {ack}" if flags == "R." else ""))
        t.sends(". 1:1 ack 1")
    assert t.state == ESTABLISHED


def test_blind_syn() -> None:
    """RFC 5961 4.2: 0. No SYN resets, whatever its number (before: 65,535 of 2^32). Each gets a challenge ACK."""
    t = quiet()
    for offset in [0, *offsets(2, 0, WINDOW)]:
        t.advance(1)
        t.receives(f"S {1 + offset}:{1 + offset}")
        t.sends(". 1:1 ack 1")
    assert t.state == ESTABLISHED


def test_blind_syn_ack() -> None:
    """As a SYN: 0."""
    t = quiet()
    for offset in (-1, 0, 1, WINDOW, 1 << 30):
        t.advance(1)
        t.receives(f"S. {1 + offset}:{1 + offset} ack 1")
        t.sends(". 1:1 ack 1")
    assert t.state == ESTABLISHED


def test_blind_data_needs_the_right_acknowledgement() -> None:
    """RFC 5961 5.2: of the ACK numbers MAX.SND.WND + 1 do, with nothing in flight: 65,536 of 2^32, 2^-16; of the
    sequence numbers those of the window, another 2^-16; together 2^-32 (before: 2^31 of the ACK numbers, 2^-17)."""
    t = quiet()
    taken = 0
    for offset in [0, *offsets(3, 0, -WINDOW)]:
        t.advance(1)
        seq = 1 + taken
        t.receives(f". {seq}:{seq + 1} ack {1 + offset}")
        accepted = -WINDOW <= offset <= 0
        t.sends(f". 1:1 ack {seq + accepted}")
        taken += accepted
    assert t.read() == taken >= 4


def test_blind_data_needs_a_sequence_number_in_the_window() -> None:
    """RFC 9293 3.10.7.4, first check: 65,535 of 2^32 for one octet; what lies before the window or beyond it is not
    kept."""
    t = quiet()
    kept = {1}
    for offset in offsets(4, 0, WINDOW):
        seq = 1 + offset
        t.advance(1)
        t.receives(f". {seq}:{seq + 1} ack 1")
        t.drain()
        if 0 < offset < WINDOW:
            kept.add(seq)
    t.receives(". 1:2 ack 1")
    t.drain()
    contiguous = 1
    while 1 + contiguous in kept:
        contiguous += 1
    assert t.read() == contiguous


def test_timestamps_halve_the_chance_again() -> None:
    """RFC 7323 5: of all TSval 2^31 are too old for PAWS, but for those of the last 64 ms. A segment without one does
    nothing."""
    t = established(options=f"mss {MSS},ts 1000", recv_buffer=WINDOW, delayed_ack=0)
    taken = 0
    for value in (999, 1001 + (1 << 31), 0xFFFFFFFF, 0):
        t.receives(f". 1:2 ack 1 <ts {value}:*>")
        t.sends(". 1:1 ack 1")
    t.receives(". 1:2 ack 1 <nots>")
    t.silent()
    assert t.read() == taken
    t.receives(". 1:2 ack 1 <ts 1000:*>")
    t.sends(". 1:1 ack 2")


def test_blind_fin() -> None:
    """A FIN counts like data: 65,535 sequence numbers and 65,536 ACK numbers, 2^-32 together; and one beyond a gap ends
    nothing before the gap is filled."""
    t = quiet()
    for offset in (-1, -70000, WINDOW + 1, 1 << 30):
        t.receives(f"F. {1 + offset}:{1 + offset} ack 1")
        t.drain()
    t.receives("F. 100:100 ack 70000")
    t.drain()
    assert t.state == ESTABLISHED
    assert not t.connection.at_eof
    t.receives("F. 1:1 ack 1")
    t.sends(". 1:1 ack 2")


def test_challenges_say_no_more_than_one_each_interval() -> None:
    """RFC 5961 7: 10,000 forged segments in a second bring the true peer three ACKs."""
    t = quiet()
    random = Random(5)
    sent = 0
    for _ in range(100):
        t.receives(*[f"S {seq}:{seq}" for seq in (random.randrange(-(1 << 31), 1 << 31) for _ in range(100))])
        sent += len(t.drain())
        t.advance(0.01)
    assert sent == 2


# ---------------------------------------------------------------------- ICMP (RFC 5927)


def icmp(t: Script, offset: int, code: int, mtu: int | None = None, octets: int = 8) -> bool:
    """An ICMP error about a segment that begins so far behind SND.UNA; whether it was taken for possible."""
    ignored = t.stack.counters.out_of_window_icmps
    seq = (t.info.snd_una + offset) % SPACE
    quoted = encode(Segment(t.flow.local_port, t.flow.remote_port, seq, 0, ACK))[:octets]
    t.stack.path_error(t.flow.remote, code, mtu, quoted, t.now)
    return t.stack.counters.out_of_window_icmps == ignored


HARD = [errno.ECONNREFUSED, errno.EPROTO, errno.EHOSTUNREACH, errno.ENETUNREACH]


@pytest.mark.parametrize("code", HARD)
@pytest.mark.rfc("5927", "4.1-1")
def test_blind_icmp_reset(code: int) -> None:
    """RFC 5927 4.1, 5.2: 0 for any number of messages at one moment, whatever they quote: errors are soft once there is
    a connection. To end it takes three port unreachables, each with the one number of 2^32 of a segment that our timers
    have just sent, and before the peer answers that segment."""
    t = quiet()
    t.write(3000)
    t.drain()
    for offset in [0, *offsets(7, 0, 3000)]:
        assert icmp(t, offset, code) == (0 <= offset <= 3000)
        assert t.state == ESTABLISHED
    t.receives(". 1:1 ack 3001")
    t.silent()
    t.write(10)
    t.sends("P. 3001:3011 ack 1")


@pytest.mark.parametrize("code", HARD)
@pytest.mark.rfc("5927", "4.1-1")
def test_blind_icmp_ends_an_open_only_with_its_number(code: int) -> None:
    """RFC 5927 4.1: 1 of 2^32, 2^-32: the number of the SYN."""
    t = syn_sent()
    for offset in offsets(8, 0):
        assert not icmp(t, offset, code)
        assert t.state == SYN_SENT
    assert icmp(t, 0, code)
    assert t.error is not None


@pytest.mark.rfc("5927", "7.2-1", "7.2-3")
@pytest.mark.rfc("8899", "3-9", "4.6.1-1")
def test_blind_icmp_shrinks_no_segments() -> None:
    """RFC 5927 7: as many of 2^32 as are in flight, here 3,000, 2^-20; and who does hit cannot push segments below what
    every host takes (536 octets), and takes nothing from the stream."""
    t = quiet()
    t.write(3000)
    t.drain()
    mss = t.info.snd_mss
    for offset in offsets(9, -1, 3002):
        if not 0 <= offset < 3000:
            assert not icmp(t, offset, errno.EMSGSIZE, 68)
    t.silent()
    assert t.info.snd_mss == mss
    assert icmp(t, 0, errno.EMSGSIZE, 68)
    again = t.drain()
    assert t.info.snd_mss == 536
    assert max(len(segment.payload) for segment in again) <= 536
    t.receives(". 1:1 ack 3001")
    assert t.info.unacked == 0


@pytest.mark.parametrize("octets", range(8))
@pytest.mark.rfc("5927", "4.1-2")
def test_icmp_that_quotes_too_little_says_nothing(octets: int) -> None:
    t = syn_sent()
    assert t.stack.counters.out_of_window_icmps == 0
    icmp(t, 0, errno.ECONNREFUSED, octets=octets)
    assert t.state == SYN_SENT


# ---------------------------------------------------------------------- numbers that nobody can guess


def chi_square(counts: Counter[int], cells: int) -> float:
    expected = sum(counts.values()) / cells
    return sum((counts[cell] - expected) ** 2 / expected for cell in range(cells))


LIMIT_255 = 350.0
"""Chi-square of 255 degrees of freedom is above this once in 30,000 times; the tests are seeded, so always or never."""


def test_isn_of_another_connection_cannot_be_told_from_ones_own() -> None:
    """RFC 6528: 2^-32. An attacker knows the ISNs that he got himself at the same moment; what another client's differs
    by is uniform, in its high octet and its low one, from port to port and from host to host."""
    numbers = SequenceNumbers(SECRET)
    own = numbers.initial("attacker", 50000, 80, START)[0]
    for others in (
        [numbers.initial("victim", port, 80, START)[0] for port in range(1024, 1024 + 16384)],
        [numbers.initial(f"host {host}", 50000, 80, START)[0] for host in range(16384)],
    ):
        distances = [(other - own) % SPACE for other in others]
        assert chi_square(Counter(distance >> 24 for distance in distances), 256) < LIMIT_255
        assert chi_square(Counter(distance & 255 for distance in distances), 256) < LIMIT_255
        assert len(set(distances)) > 16380
    steps = [
        diff(numbers.initial("victim", port + 1, 80, START)[0], numbers.initial("victim", port, 80, START)[0])
        for port in range(1024, 1024 + 16384)
    ]
    assert chi_square(Counter((step % SPACE) >> 24 for step in steps), 256) < LIMIT_255


def test_secret_alone_decides_about_the_isn() -> None:
    """Two hosts that start at the same moment, and one host after a restart."""
    numbers = [SequenceNumbers(n.to_bytes(16, "big")).initial("peer", 50000, 80, START)[0] for n in range(16384)]
    assert chi_square(Counter(number >> 24 for number in numbers), 256) < LIMIT_255


def test_timestamps_of_another_connection_cannot_be_told_from_ones_own() -> None:
    """RFC 7323 5.4, 7.1: 2^-32 for the exact value; offsets are uniform, and independent of the ISN."""
    numbers = SequenceNumbers(SECRET)
    pairs = [numbers.initial("victim", port, 80, START) for port in range(1024, 1024 + 16384)]
    assert chi_square(Counter(offset >> 24 for _, offset in pairs), 256) < LIMIT_255
    assert chi_square(Counter((isn - offset) % SPACE >> 24 for isn, offset in pairs), 256) < LIMIT_255


@pytest.mark.rfc("5927", "4.2-1")
def test_port_towards_another_host_cannot_be_told_from_ones_own() -> None:
    """RFC 6056 3.3.4: 1 of 16,384. An attacker whom we connect to learns a port; the port towards his victim lies
    anywhere, and moves on by 1 when his own does in 1 of 256 cases only."""
    ports = EphemeralPorts(49152, 65535, SECRET)
    own, _ = ports.choose("attacker", 80, lambda port: 0.0, 0.0)
    assert own is not None
    distances = Counter[int]()
    for host in range(16384):
        other, _ = ports.choose(f"host {host}", 80, lambda port: 0.0, 0.0)
        assert other is not None
        distances[(other - own) % 16384 >> 6] += 1
    assert chi_square(distances, 256) < LIMIT_255


def test_first_port_follows_from_the_secret() -> None:
    first = [
        EphemeralPorts(49152, 65535, n.to_bytes(16, "big")).choose("peer", 80, lambda _: 0.0, 0.0)[0]
        for n in range(4096)
    ]
    assert chi_square(Counter((port or 0) - 49152 >> 6 for port in first), 256) < LIMIT_255


# ---------------------------------------------------------------------- TIME_WAIT


def test_time_wait_cannot_be_assassinated() -> None:
    """RFC 1337: 0. No RST, no old data and no ACK ends TIME_WAIT early, or shortens it."""
    t = time_wait(options=f"mss {MSS}")
    for offset in [0, *offsets(6, 0, WINDOW)]:
        t.receives(f"R {2 + offset}:{2 + offset}", f"R. {2 + offset}:{2 + offset} ack 2")
        t.receives(f". {2 + offset}:{3 + offset} ack 2")
        t.drain()
    assert t.state == TIME_WAIT
    t.advance(59.9)
    assert t.state == TIME_WAIT
    t.advance(0.2)
    assert t.state != TIME_WAIT


def test_old_syns_at_time_wait_bring_one_ack_each_interval_and_do_not_prolong_it() -> None:
    """RFC 6191, RFC 5961 7. An old duplicate, or a forged SYN that is not newer by timestamp: 2^-1 for the timestamp of
    one that is forged, and it opens a half-open connection then, whose end restores the TIME_WAIT."""
    t = time_wait(options=f"mss {MSS},ts 1000")
    answered = 0
    for _ in range(100):
        t.receives(*["S 100:100 <mss 1000,ts 900>"] * 10)
        answered += len(t.drain())
        t.advance(0.01)
    assert answered == 2
    assert not t.stack.connections
    t.advance(59.1)
    assert t.state != TIME_WAIT


def test_half_open_connection_from_time_wait_gives_it_back() -> None:
    t = time_wait(options=f"mss {MSS},ts 1000", syn_ack_retries=0)
    t.stack.listen(50000, t.now)
    t.receives("S 100:100 <mss 1000,ts 2000>")
    (syn_ack,) = t.drain()
    assert isinstance(syn_ack, Segment)
    assert t.state != TIME_WAIT
    t.advance(5)
    assert t.state == TIME_WAIT
