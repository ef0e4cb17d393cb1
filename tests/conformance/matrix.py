"""Every event in every state: what leaves, what changes, and where that is written.

Nothing here knows the implementation: the axes are defined by the numbers of RFC 9293 3.3.1; the table by its 3.10.7,
by the RFCs that amend it, and by the decisions that utcp has taken where they leave a choice. `test_matrix` puts a
stack into each place by real segments and compares.

The axes
--------

* Event: what kind of segment arrives. "data" is an ACK with ten octets; "none" has no control bit at all.
* State: the eleven of RFC 9293 figure 5. What the user or the configuration did makes variants of some, written
  `STATE:variant`; a row that names a state holds for all of its variants, unless a row above it names one.
* SEG.SEQ, by the receive window. `left`: the whole segment lies before RCV.NXT and ends there (an empty one stands at
  RCV.NXT-1). `edge`: RCV.NXT. `inside`: the middle of the window. `last`: its last octet. `right`: RCV.NXT+RCV.WND.
  A closed window has no inside and no last octet; there `probe` is RCV.NXT+1, where a peer that probes the window has
  its SND.NXT, and `right` is beyond that.
* SEG.ACK. `old`: SND.UNA-1, which the window ever offered allows (RFC 5961 5). `current`: SND.UNA. `next`: SND.NXT.
  `beyond`: SND.NXT+1. Something is in flight wherever the state allows it; in FIN_WAIT_2 and TIME_WAIT nothing is, and
  `current` and `next` are one number.

CLOSED, LISTEN and SYN_SENT have no RCV.NXT, CLOSED and LISTEN no SND.UNA: the numbers are laid around those of the
connection that the peer may believe in, and no row may depend on them (`test_matrix` asserts it).

A segment without the ACK bit has a number in its acknowledgement field all the same, and every number of the axis is
tried: none may make a difference. So 10 events x 11 states x 5 x 4 are 2,200 cells, all of them run, of which 1,375 are
different segments to a TCP: 5 events with ACK x 11 x 5 x 4, and 5 without x 11 x 5.
"""

from dataclasses import dataclass
from itertools import product
from typing import Final, NamedTuple


class Event(NamedTuple):
    """A kind of segment; `flags` as a line of a trace writes them."""

    name: str
    flags: str
    octets: int = 0

    @property
    def has_ack(self) -> bool:
        return "." in self.flags

    @property
    def length(self) -> int:
        """SEG.LEN: SYN and FIN count."""
        return self.octets + ("S" in self.flags) + ("F" in self.flags)


EVENTS: Final = (
    Event("SYN", "S"),
    Event("SYN-ACK", "S."),
    Event("SYN-FIN", "SF"),
    Event("ACK", "."),
    Event("FIN", "F"),
    Event("FIN-ACK", "F."),
    Event("data", "P.", 10),
    Event("RST", "R"),
    Event("RST-ACK", "R."),
    Event("none", "-"),
)

STATES: Final = (
    "CLOSED",
    "LISTEN",
    "SYN_SENT",
    "SYN_RCVD",
    "ESTABLISHED",
    "FIN_WAIT_1",
    "FIN_WAIT_2",
    "CLOSE_WAIT",
    "CLOSING",
    "LAST_ACK",
    "TIME_WAIT",
)

OPEN_WINDOW: Final = ("left", "edge", "inside", "last", "right")
CLOSED_WINDOW: Final = ("left", "edge", "probe", "right")
ACKS: Final = ("old", "current", "next", "beyond")

UNREAD: Final = 2048
"""Octets that closed the window: the whole receive buffer."""


@dataclass(frozen=True, slots=True)
class Place:
    """A state, how it was come by, and the numbers in it, relative to the ISNs; before a RCV.NXT exists it is 1."""

    state: str
    variant: str
    snd_una: int
    snd_nxt: int
    rcv_nxt: int
    closed: bool = False
    """The user has called close(), not merely shutdown()."""

    @property
    def name(self) -> str:
        return f"{self.state}:{self.variant}" if self.variant else self.state

    @property
    def window_is_closed(self) -> bool:
        return self.variant == "zero"

    @property
    def fin_in_flight(self) -> bool:
        return self.state in ("FIN_WAIT_1", "CLOSING", "LAST_ACK")

    @property
    def seqs(self) -> tuple[str, ...]:
        return CLOSED_WINDOW if self.window_is_closed else OPEN_WINDOW

    def seq(self, where: str, event: Event, rcv_wnd: int) -> int:
        """SEG.SEQ, relative to the peer's ISN."""
        offset = {
            "left": -max(event.length, 1),
            "edge": 0,
            "probe": 1,
            "inside": rcv_wnd // 2,
            "last": rcv_wnd - 1,
            "right": 2 if self.window_is_closed else rcv_wnd,
        }
        return self.rcv_nxt + offset[where]

    def ack(self, which: str) -> int:
        """SEG.ACK, relative to our ISS."""
        return {
            "old": self.snd_una - 1,
            "current": self.snd_una,
            "next": self.snd_nxt,
            "beyond": self.snd_nxt + 1,
        }[which]


# In flight: the SYN, 100 octets, or 100 octets and the FIN behind them.
MATRIX: Final = (
    Place("CLOSED", "", 0, 1, 1),
    Place("LISTEN", "", 0, 1, 1),
    Place("SYN_SENT", "", 0, 1, 1),
    Place("SYN_RCVD", "", 0, 1, 1),  # from LISTEN
    Place("ESTABLISHED", "", 1, 101, 1),
    Place("FIN_WAIT_1", "", 1, 102, 1),  # after shutdown(): the RFC's CLOSE, after which one still receives
    Place("FIN_WAIT_2", "", 102, 102, 1),
    Place("CLOSE_WAIT", "", 1, 101, 2),
    Place("CLOSING", "", 1, 102, 2, closed=True),
    Place("LAST_ACK", "", 1, 102, 2, closed=True),
    Place("TIME_WAIT", "", 102, 102, 2, closed=True),  # with a listener on the port
)

VARIANTS: Final = (
    Place("SYN_RCVD", "active", 0, 1, 1),  # from SYN_SENT: simultaneous open
    Place("FIN_WAIT_1", "closed", 1, 102, 1, closed=True),  # after close(): nobody receives
    Place("FIN_WAIT_2", "closed", 102, 102, 1, closed=True),
    Place("LAST_ACK", "challenge", 1, 102, 2, closed=True),  # syn_in_last_ack="challenge"
    Place("TIME_WAIT", "unserved", 102, 102, 2, closed=True),  # no listener on the port
    Place("TIME_WAIT", "rfc793", 102, 102, 2, closed=True),  # rfc1337=False
)

ZERO_WINDOW: Final = (
    Place("ESTABLISHED", "zero", 1, 101, UNREAD + 1),
    Place("FIN_WAIT_1", "zero", 1, 102, UNREAD + 1),
    Place("FIN_WAIT_2", "zero", 102, 102, UNREAD + 1),
    Place("CLOSE_WAIT", "zero", 1, 101, UNREAD + 2),
    Place("CLOSING", "zero", 1, 102, UNREAD + 2),
    Place("LAST_ACK", "zero", 1, 102, UNREAD + 2),
    Place("TIME_WAIT", "zero", 102, 102, UNREAD + 2),
)

# The columns of the table
#
# * state, event, seq, ack: names of the axes, of the groups below, or * for any. The first row that fits a cell holds.
# * reply: what leaves, and nothing else does.
#     ACK             <SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>, RCV.NXT as it is afterwards
#     SYN-ACK         <SEQ=ISS><ACK=RCV.NXT><CTL=SYN,ACK>
#     RST(SEG.ACK)    <SEQ=SEG.ACK><CTL=RST>
#     RST(0)          <SEQ=0><ACK=SEG.SEQ+SEG.LEN><CTL=RST,ACK>
#     RST(SND.NXT)    <SEQ=SND.NXT><CTL=RST>
#     RST, SYN        <SEQ=SEG.ACK><CTL=RST> and, behind it, <SEQ=ISS><CTL=SYN>
#     RST(both)       <SEQ=SND.UNA><CTL=RST> and <SEQ=SND.NXT><CTL=RST>: the peer's RCV.NXT is the first if what is in
#                     flight is lost, the second if it arrives
# * next: the state afterwards, = for the same. LISTEN and CLOSED say whether a listener is left on the port.
# * takes: what of the segment counts; everything else stays as it was, and the user is told of nothing else.
#     syn             RCV.NXT becomes SEG.SEQ+1
#     ack             SND.UNA becomes SEG.ACK, if that lies beyond it
#     text            RCV.NXT moves over it; READABLE
#     fin             RCV.NXT moves over it; PEER_CLOSED, and READABLE for what is unread: FIN implies PUSH
#     2msl            TIME_WAIT begins anew
#     refused, reset, aborted   the user is told of the end, with that ConnectionError
#   Without being named: CONNECTED on leaving SYN_SENT and SYN_RCVD for a synchronized state; the end without error when
#   the ACK of our FIN comes after close().
# * source: a section of RFC 9293 and the check in it, where no other RFC is named; utcp: our decision where the RFCs
#   leave one, or differ.

GROUPS: Final = {
    # Synchronized, with a TCB; of these, the ones that wait for the peer's FIN, and those that have it.
    "TCB": "ESTABLISHED FIN_WAIT_1 FIN_WAIT_2 CLOSE_WAIT CLOSING LAST_ACK",
    "RECEIVING": "ESTABLISHED FIN_WAIT_1 FIN_WAIT_2",
    "FINISHED": "CLOSE_WAIT CLOSING LAST_ACK",
    "ZERO": " ".join(place.name for place in ZERO_WINDOW),
    "SYNs": "SYN SYN-ACK SYN-FIN",
    "RSTs": "RST RST-ACK",
    "ACKs": "ACK FIN-ACK data",
    "window": "edge inside last",
    "ahead": "inside last",
    "newer": "edge probe inside last right",
    "outside": "left right",
    "good": "old current next",
    "wrong": "old current beyond",
}

TABLE: Final = """
# state            | event        | seq          | ack    | reply        | next        | takes    | source
# --- CLOSED: no connection, no listener
CLOSED             | RSTs         | *            | *      | -            | =           | -        | 3.10.7.1
CLOSED             | SYN-ACK ACKs | *            | *      | RST(SEG.ACK) | =           | -        | 3.10.7.1
CLOSED             | *            | *            | *      | RST(0)       | =           | -        | 3.10.7.1

# --- LISTEN. A FIN on the SYN is left for the peer to send again.
LISTEN             | RSTs         | *            | *      | -            | =           | -        | 3.10.7.2 1st
LISTEN             | SYN-ACK ACKs | *            | *      | RST(SEG.ACK) | =           | -        | 3.10.7.2 2nd
LISTEN             | SYN SYN-FIN  | *            | *      | SYN-ACK      | SYN_RCVD    | syn      | 3.10.7.2 3rd
LISTEN             | FIN none     | *            | *      | -            | =           | -        | 3.10.7.2 4th

# --- SYN_SENT. Only an ACK of our SYN is acceptable; a RST without one proves nothing. Behind the RST, which ends an
# older connection of the peer, our SYN goes again: once before the timer sends it again.
SYN_SENT           | RST-ACK      | *            | next   | -            | CLOSED      | refused  | 3.10.7.3 2nd
SYN_SENT           | RSTs         | *            | *      | -            | =           | -        | 3.10.7.3 1st, 2nd
SYN_SENT           | SYN-ACK      | *            | next   | ACK          | ESTABLISHED | syn ack  | 3.10.7.3 4th
SYN_SENT           | ACKs         | *            | next   | -            | =           | -        | 3.10.7.3 5th
SYN_SENT           | SYN-ACK ACKs | *            | wrong  | RST, SYN     | =           | -        | 3.10.7.3 1st
SYN_SENT           | SYN SYN-FIN  | *            | *      | SYN-ACK      | SYN_RCVD    | syn      | 3.10.7.3 4th
SYN_SENT           | FIN none     | *            | *      | -            | =           | -        | 3.10.7.3 5th

# --- RST: exactly at RCV.NXT it counts, elsewhere in the window it is challenged, outside it is dropped.
# A closed window makes allowance for RST (MUST-66), and a peer that probes it resets from one octet beyond.
TIME_WAIT:rfc793   | RSTs         | edge         | *      | -            | LISTEN      | -        | 3.10.7.4 2nd
TIME_WAIT:rfc793   | RSTs         | ahead        | *      | ACK          | =           | -        | RFC 5961 3.2
TIME_WAIT          | RSTs         | *            | *      | -            | =           | -        | RFC 1337 3
SYN_RCVD:active    | RSTs         | edge         | *      | -            | CLOSED      | refused  | 3.10.7.4 2nd
SYN_RCVD           | RSTs         | edge         | *      | -            | LISTEN      | -        | 3.10.7.4 2nd
FIN_WAIT_2:closed  | RSTs         | edge         | *      | -            | CLOSED      | -        | 3.10.7.4 2nd
TCB                | RSTs         | edge         | *      | -            | CLOSED      | reset    | 3.10.7.4 2nd
SYN_RCVD TCB       | RSTs         | ahead        | *      | ACK          | =           | -        | RFC 5961 3.2
TCB                | RSTs         | probe        | *      | ACK          | =           | -        | utcp: probing peer
SYN_RCVD TCB       | RSTs         | outside      | *      | -            | =           | -        | RFC 5961 3.2

# --- SYN. The peer's SYN again is not heard as a stranger's: it has not got our SYN-ACK.
SYN_RCVD           | SYN          | left         | *      | SYN-ACK      | =           | -        | utcp: SYN again
# A simultaneous open ends with a SYN-ACK whose SYN is old by then: the first check wants it acknowledged all the same.
SYN_RCVD:active    | SYN-ACK      | left         | next   | ACK          | ESTABLISHED | ack      | 3.5 figure 7
SYN_RCVD:active    | SYN-ACK      | left         | *      | RST(SEG.ACK) | =           | -        | 3.5.2 group 2
SYN_RCVD:active    | SYNs         | *            | *      | ACK          | =           | -        | RFC 5961 4.2
SYN_RCVD           | SYNs         | window       | *      | -            | LISTEN      | -        | 3.10.7.4 4th
LAST_ACK:challenge | SYNs         | *            | *      | ACK          | =           | -        | RFC 5961 4.2
LAST_ACK           | SYN SYN-FIN  | *            | *      | RST(0)       | =           | -        | utcp: LAST_ACK
# The last sequence number seen is that of the FIN, RCV.NXT-1: a SYN from RCV.NXT on is of a newer incarnation.
TIME_WAIT:unserved | SYNs         | *            | *      | ACK          | =           | -        | RFC 5961 4.2
TIME_WAIT          | SYN SYN-FIN  | newer        | *      | SYN-ACK      | SYN_RCVD    | syn      | RFC 6191 2
TCB TIME_WAIT      | SYNs         | *            | *      | ACK          | =           | -        | RFC 5961 4.2

# --- The sequence number. The peer's FIN come again is unacceptable too: TIME_WAIT knows it, unless its ACK is absurd.
# What begins before RCV.NXT may acknowledge something new all the same (A.2).
TIME_WAIT          | FIN-ACK      | left         | good   | ACK          | =           | 2msl     | 3.10.7.4 5th
LAST_ACK           | ACKs         | left         | next   | -            | CLOSED      | ack      | RFC 9293 A.2
CLOSING            | ACKs         | left         | next   | ACK          | TIME_WAIT   | ack      | RFC 9293 A.2
FIN_WAIT_1         | ACKs         | left         | next   | ACK          | FIN_WAIT_2  | ack      | RFC 9293 A.2
TCB                | ACKs         | left         | next   | ACK          | =           | ack      | RFC 9293 A.2
*                  | *            | outside      | *      | ACK          | =           | -        | 3.10.7.4 1st
*                  | data FIN-ACK | probe        | *      | ACK          | =           | -        | 3.10.7.4 1st
*                  | FIN none     | probe        | *      | ACK          | =           | -        | 3.10.7.4 1st

# --- The ACK field. A closed window makes allowance for ACKs (MUST-66), and a peer that probes it stands at `probe`.
*                  | FIN none     | window       | *      | -            | =           | -        | 3.10.7.4 5th
SYN_RCVD           | ACKs         | window       | wrong  | RST(SEG.ACK) | =           | -        | 3.10.7.4 5th
*                  | ACKs         | window probe | beyond | ACK          | =           | -        | RFC 5961 5.2
TIME_WAIT          | ACK          | edge         | *      | -            | =           | -        | utcp: TIME_WAIT
TIME_WAIT          | ACKs         | window probe | *      | ACK          | =           | -        | utcp: TIME_WAIT
LAST_ACK           | ACKs         | window probe | next   | -            | CLOSED      | ack      | 3.10.7.4 5th
CLOSING:zero       | data         | edge         | next   | ACK          | TIME_WAIT   | ack      | 3.10.7.4 1st
CLOSING            | ACKs         | window probe | next   | -            | TIME_WAIT   | ack      | 3.10.7.4 5th
SYN_RCVD           | ACK          | window       | next   | -            | ESTABLISHED | ack      | 3.10.7.4 5th
FIN_WAIT_1         | ACK          | window probe | next   | -            | FIN_WAIT_2  | ack      | 3.10.7.4 5th
TCB                | ACK          | window probe | *      | -            | =           | ack      | 3.10.7.4 5th

# --- Text. What lies beyond a gap is held (SHLD-31) and acknowledged at once (RFC 5681 4.2).
FIN_WAIT_1:closed  | data         | window       | next   | RST(SND.NXT) | CLOSED      | ack      | 3.6.1 SHLD-3
FIN_WAIT_1:closed  | data         | window       | *      | RST(both)    | CLOSED      | aborted  | 3.5.2 group 1
FIN_WAIT_2:closed  | data         | window       | *      | RST(SND.NXT) | CLOSED      | -        | 3.6.1 SHLD-3
FIN_WAIT_1:zero    | data         | edge         | next   | ACK          | FIN_WAIT_2  | ack      | 3.10.7.4 1st
ZERO               | data         | edge         | *      | ACK          | =           | ack      | 3.10.7.4 1st
SYN_RCVD           | data         | edge         | next   | ACK          | ESTABLISHED | ack text | 3.10.7.4 7th
FIN_WAIT_1         | data         | edge         | next   | ACK          | FIN_WAIT_2  | ack text | 3.10.7.4 7th
RECEIVING          | data         | edge         | *      | ACK          | =           | ack text | 3.10.7.4 7th
SYN_RCVD           | data FIN-ACK | ahead        | next   | ACK          | ESTABLISHED | ack      | 3.10.7.4 1st
FIN_WAIT_1         | data FIN-ACK | ahead        | next   | ACK          | FIN_WAIT_2  | ack      | 3.10.7.4 1st
RECEIVING          | data FIN-ACK | ahead        | *      | ACK          | =           | ack      | 3.10.7.4 1st
FINISHED           | data         | window       | *      | -            | =           | ack      | 3.10.7.4 7th

# --- FIN. It needs no buffer, and a closed window does not keep it out. Behind a FIN there is no second.
SYN_RCVD           | FIN-ACK      | edge         | next   | ACK          | CLOSE_WAIT  | ack fin  | 3.10.7.4 8th
ESTABLISHED        | FIN-ACK      | edge         | *      | ACK          | CLOSE_WAIT  | ack fin  | 3.10.7.4 8th
FIN_WAIT_1         | FIN-ACK      | edge         | next   | ACK          | TIME_WAIT   | ack fin  | 3.10.7.4 8th
FIN_WAIT_1         | FIN-ACK      | edge         | *      | ACK          | CLOSING     | ack fin  | 3.10.7.4 8th
FIN_WAIT_2         | FIN-ACK      | edge         | *      | ACK          | TIME_WAIT   | ack fin  | 3.10.7.4 8th
FINISHED           | FIN-ACK      | window       | *      | -            | =           | ack      | utcp: after FIN
"""

REPLIES: Final = frozenset({"-", "ACK", "SYN-ACK", "RST(SEG.ACK)", "RST(0)", "RST(SND.NXT)", "RST, SYN", "RST(both)"})
TAKES: Final = frozenset({"syn", "ack", "text", "fin", "2msl", "refused", "reset", "aborted"})


class Cell(NamedTuple):
    """One event at one place, with its two numbers."""

    place: Place
    event: Event
    seq: str
    ack: str

    def __str__(self) -> str:
        return f"{self.place.name}-{self.event.name}-{self.seq}-{self.ack}"


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table; an empty set is *."""

    text: str
    places: frozenset[str]
    events: frozenset[str]
    seqs: frozenset[str]
    acks: frozenset[str]
    reply: str
    after: str
    takes: frozenset[str]
    source: str

    def fits(self, cell: Cell) -> bool:
        return (
            (not self.places or cell.place.name in self.places or cell.place.state in self.places)
            and (not self.events or cell.event.name in self.events)
            and (not self.seqs or cell.seq in self.seqs)
            and (not self.acks or cell.ack in self.acks)
        )


def _names(column: str) -> frozenset[str]:
    if column == "*":
        return frozenset()
    return frozenset(name for word in column.split() for name in GROUPS.get(word, word).split())


def _row(line: str) -> Row:
    places, events, seqs, acks, reply, after, takes, source = (column.strip() for column in line.split("|"))
    return Row(
        text=" | ".join((places, events, seqs, acks)),
        places=_names(places),
        events=_names(events),
        seqs=_names(seqs),
        acks=_names(acks),
        reply=reply,
        after=after,
        takes=frozenset(takes.split()) - {"-"},
        source=f"RFC 9293 {source}" if source[0].isdigit() else source,
    )


ROWS: Final = tuple(_row(line) for line in TABLE.splitlines() if line and not line.startswith("#"))


def cells(places: tuple[Place, ...]) -> list[Cell]:
    return [Cell(place, event, seq, ack) for place in places for event, seq, ack in product(EVENTS, place.seqs, ACKS)]


def rule(cell: Cell) -> Row:
    """The row that holds for a cell. Raises LookupError when the table has none."""
    for row in ROWS:
        if row.fits(cell):
            return row
    raise LookupError(f"no row for {cell}")
