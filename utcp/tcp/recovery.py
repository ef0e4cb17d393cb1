"""What to send again, and when: duplicate ACKs, NewReno's fast recovery, timeouts (RFC 5681, 6582, 3042).

SACK-based recovery and RACK-TLP will take this part's place; nobody else decides what is lost.
"""

from utcp.tcp.congestion import CongestionController
from utcp.tcp.send import SendSide
from utcp.wire.seq import HALF, MASK, gt


class Recovery:
    """Owns the range to be sent again, [`rtx_next`, `rtx_end`), and the state of fast recovery.

    The range lies within [SND.UNA, SND.NXT). It is not in flight: it is lost, or taken to be.
    """

    __slots__ = (
        "_congestion",
        "_dup_acks",
        "_inflation",
        "_limited_from",
        "_recover",
        "_send",
        "fast",
        "forced",
        "rtx_end",
        "rtx_next",
    )

    def __init__(self, send: SendSide, congestion: CongestionController) -> None:
        self._send = send
        self._congestion = congestion
        self._dup_acks = 0
        self._inflation = 0
        self._limited_from = send.iss
        """SND.NXT at the first duplicate ACK."""
        self._recover = send.iss
        """RFC 6582: SND.NXT when the last loss was noticed."""
        self.fast = False
        """In fast recovery."""
        self.forced = False
        """The next retransmission leaves whatever the congestion window says."""
        self.rtx_next = send.iss
        self.rtx_end = send.iss

    @property
    def window(self) -> int:
        """The congestion window with what duplicate ACKs allow beyond it: NewReno's inflation (RFC 6582), limited
        transmit (RFC 3042)."""
        if self.fast:
            return self._congestion.cwnd + self._inflation
        if self._dup_acks:
            return self._congestion.cwnd + min(self._dup_acks, 2) * self._congestion.mss
        return self._congestion.cwnd

    @property
    def in_flight(self) -> int:
        """Octets sent, not acknowledged, and not taken to be lost."""
        return self._send.flight_size - ((self.rtx_end - self.rtx_next) & MASK)

    @property
    def pending(self) -> bool:
        """Something waits to be sent again."""
        return self.rtx_next != self.rtx_end

    def resent(self, size: int) -> None:
        """`size` octets of sequence space from `rtx_next` on left once more."""
        self.rtx_next = (self.rtx_next + size) & MASK
        self.forced = False

    def on_duplicate_ack(self, now: float) -> None:
        """An ACK that moved nothing while something is in flight (RFC 5681 2)."""
        send, mss = self._send, self._congestion.mss
        self._dup_acks += 1
        if self._dup_acks == 1:
            self._limited_from = send.snd_nxt
        if self.fast:
            self._inflation += mss
        elif self._dup_acks == 3 and gt(send.snd_una, self._recover) and not self.pending:
            self._recover = send.snd_nxt
            # RFC 5681 3.2 step 2: what limited transmit added does not count.
            self._congestion.on_loss((self._limited_from - send.snd_una) & MASK, now)
            self._inflation = 3 * mss
            self.fast = True
            self._resend_first()

    def on_ack(self, acked: int, limited: bool, now: float) -> None:
        """SND.UNA advanced over `acked` payload octets; `limited`: the congestion window held the sender back."""
        send, congestion = self._send, self._congestion
        self._dup_acks = 0
        if (send.snd_una - self.rtx_next) & MASK < HALF:
            self.rtx_next = send.snd_una
            if (send.snd_una - self.rtx_end) & MASK < HALF:
                self.rtx_end = send.snd_una
        if not self.fast:
            if limited:
                congestion.on_ack(acked, now)
        elif (send.snd_una - self._recover) & MASK < HALF:
            self.fast = False
            self._inflation = 0
            congestion.on_recovered(send.flight_size, now)
        else:  # a partial ACK: the next hole is lost as well (RFC 6582 3.2 step 3)
            self._inflation = max(0, self._inflation - acked)
            if acked >= congestion.mss:
                self._inflation += congestion.mss
            self._resend_first()

    def on_timeout(self, first: bool, now: float) -> None:
        """The retransmission timer expired: all that is in flight is taken to be lost. `first`: it has not expired
        for this octet before (RFC 5681 3.1: a repeated timeout does not lower ssthresh again)."""
        if first:
            self._congestion.on_timeout(self._send.flight_size, now)
        else:
            self._congestion.on_repeated_timeout()
        self._dup_acks = 0
        self._inflation = 0
        self.fast = False
        self._recover = self._send.snd_nxt
        self.resend_all()

    def resend_all(self) -> None:
        """Take everything in flight to be lost."""
        self.rtx_next = self._send.snd_una
        self.rtx_end = self._send.snd_nxt
        self.forced = True

    def _resend_first(self) -> None:
        send = self._send
        self.rtx_next = send.snd_una
        size = min(self._congestion.mss, send.flight_size)
        if send.fin_sent and send.flight_size == size + 1:
            size += 1  # the FIN left on this segment and goes with it again
        self.rtx_end = (send.snd_una + size) & MASK
        self.forced = True
