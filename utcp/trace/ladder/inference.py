"""Derives the states of an end from its captured segments (RFC 9293, figure 5 and 3.10.7).

Only states that a segment proves are set, because calls of the user, timers and the end of TIME_WAIT leave no trace on
the wire. An end whose SYN was not captured has no state until a later segment or a comment sets it.
"""

from __future__ import annotations

from utcp.tcp.state import (
    CLOSE,
    CLOSED,
    FIN_ACKED,
    FIN_RECEIVED,
    LISTEN,
    SUCCESSORS,
    SYN_ACKED,
    SYN_RCVD,
    SYN_RECEIVED,
    SYN_SENT,
    TIME_WAIT,
)
from utcp.wire import ACK, FIN, RST, SYN, Segment


class Machine:
    """The state of one end as far as its segments show it. Numbers passed to it are relative, as in `Flight`."""

    __slots__ = ("_beyond", "_fin_at", "_fin_sent_at", "_rcv_nxt", "state")

    def __init__(self) -> None:
        self.state: int | None = None
        self._fin_sent_at: int | None = None
        self._rcv_nxt: int | None = None
        self._fin_at: int | None = None
        self._beyond: dict[int, int] = {}
        """Data received after a gap: start to end."""

    def assume(self, state: int) -> None:
        """Set the state from a comment of the capture."""
        self.state = state

    def _on(self, event: int) -> None:
        """Make the transition of RFC 9293 for `event`, if the state has one."""
        if self.state is not None and SUCCESSORS[self.state][event] >= 0:
            self.state = SUCCESSORS[self.state][event]

    def sent(self, segment: Segment, number: int) -> None:
        """Process a segment with the sequence number `number` that this end sent."""
        flags, state = segment.flags, self.state
        if flags & RST:
            if flags & ACK and segment.seq == 0:
                return  # it answers a segment without ACK, and leaves the state alone (RFC 9293 3.10.7.1)
            if state not in (None, CLOSED, LISTEN, SYN_SENT, SYN_RCVD, TIME_WAIT):
                self.state = CLOSED
        elif flags & SYN:
            if state in (None, CLOSED, LISTEN) or (state == SYN_SENT and flags & ACK):
                self.state = SYN_RCVD if flags & ACK else SYN_SENT
        elif flags & FIN:
            self._fin_sent_at = number + len(segment.payload)
            self._on(CLOSE)

    def received(self, segment: Segment, number: int, ack: int) -> None:
        """Process a received segment; `number` is its SEQ, and `ack` its ACK if it has one."""
        flags = segment.flags
        acked = flags & ACK
        if flags & RST:
            if self.state == SYN_SENT:
                reset = bool(acked and ack == 1)
            else:
                reset = number == self._rcv_nxt and self.state not in (None, LISTEN, CLOSED, TIME_WAIT)
            if reset:
                self.state = CLOSED
            return
        if flags & SYN:
            if self._rcv_nxt is None:
                self._rcv_nxt = 1
            if acked and ack == 1:
                self._on(SYN_ACKED)
            elif self.state == SYN_SENT and not acked:
                self._on(SYN_RECEIVED)
            return
        if acked:
            self._acknowledged(ack)
        if self._rcv_nxt is not None and segment.length:
            self._take(segment, number)

    def _acknowledged(self, ack: int) -> None:
        if self.state == SYN_RCVD and ack >= 1:
            self._on(SYN_ACKED)
        if self._fin_sent_at is not None and ack > self._fin_sent_at:
            self._on(FIN_ACKED)

    def _take(self, segment: Segment, number: int) -> None:
        """Add the segment's data; the FIN counts once all data before it has arrived."""
        end = number + len(segment.payload)
        if segment.flags & FIN:
            self._fin_at = end
        self._beyond[number] = max(end, self._beyond.get(number, end))
        nearest = self._rcv_nxt or 0
        for start in sorted(self._beyond):
            if start > nearest:
                break
            nearest = max(nearest, self._beyond.pop(start))
        if self._fin_at is not None and nearest == self._fin_at:
            nearest += 1
            self._on(FIN_RECEIVED)
        self._rcv_nxt = nearest
