"""The ACK field, the window and the SACK blocks of a received segment (RFC 9293 3.10.7.4, fifth check)."""

from __future__ import annotations

from math import inf

from utcp.tcp import event
from utcp.tcp.connection.challenge import challenge
from utcp.tcp.connection.tcb import Tcb
from utcp.tcp.rate_limit import TO_ACK, TO_DATA
from utcp.tcp.recovery.spurious import NO_DSACK
from utcp.wire import ECE, FIN, SYN, Segment
from utcp.wire.seq import HALF, MASK, diff


def process_ack(tcb: Tcb, segment: Segment, seq: int, now: float) -> bool:
    """Process the ACK field and the window of `segment`, with `seq` as its SEQ. Return False if the rest of the segment
    must be ignored. If it acknowledges our FIN, the caller calls `Tcb.fin_acknowledged` after the rest."""
    send = tcb.send_side
    ack = segment.ack
    advance = (ack - send.snd_una) & MASK
    flight_size = (send.snd_nxt - send.snd_una) & MASK
    if advance > flight_size:
        if advance < HALF or 0x100000000 - advance > max(send.max_snd_wnd, 1):
            # An ACK of octets never sent (RFC 9293), or older than any window allows (RFC 5961 5, MAY-12).
            challenge(tcb, TO_DATA if segment.length else TO_ACK, now)
            return False
        # An old ACK, overtaken by a newer one. Its text and FIN are still processed, and so are its SACK blocks (RFC
        # 6675 5, RFC 2883 5).
        if segment.sack_blocks and tcb.sack and not send.probe:
            pass_on(tcb, segment, 0, 0, False, now)
            tcb.touch()
        return True
    # RFC 7323 2.2: the window of a SYN is not scaled.
    window = segment.window if segment.flags & SYN else segment.window << send.shift
    changed = False
    if advance:
        syn_acked = send.syn_acked
        before = send.snd_wnd
        acked = send.acknowledge(ack, seq, window)
        tcb.progress(now)
        changed = window != before
        pass_on(tcb, segment, advance, acked, False, now)
        if not syn_acked:
            tcb.establish(now)
            tcb.report(event.CONNECTED)
        if send.wanted and send.room_again():
            tcb.report(event.WRITABLE)
    else:
        changed = send.update_window(seq, ack, window)
        if (flight_size or tcb.recovery.probe_under_way or segment.sack_blocks) and not send.probe:
            plain = not changed and not segment.payload and not segment.flags & FIN
            if plain or segment.sack_blocks or segment.flags & ECE:
                pass_on(tcb, segment, 0, 0, plain, now)
    if changed or not send.snd_wnd:
        follow_window(tcb, changed, now)
    if send.snd_una != send.snd_nxt or tcb.recovery.board.lost or send.pending:
        tcb.touch()
    return True


def follow_window(tcb: Tcb, changed: bool, now: float) -> None:
    """Handle the peer's window after an ACK: it has `changed`, or it is still closed."""
    send = tcb.send_side
    if changed and send.snd_wnd:
        tcb.persist.begin_anew()
        tcb.persist.stop()
        if send.probe:  # the peer dropped the octet of the probe, because its window was closed
            send.end_probe()
            tcb.recovery.mark_first_lost(now)
    elif not send.snd_wnd and not tcb.closed_by_user:
        tcb.restart_r2()


def pass_on(tcb: Tcb, segment: Segment, advance: int, acked: int, duplicate: bool, now: float) -> None:
    """Pass an ACK to recovery. SND.UNA has moved by `advance`, of which `acked` octets are payload. Only the SACK
    blocks of an old ACK are used, because later ACKs had newer marks and timestamps."""
    recovery = tcb.recovery
    newest = segment.ack == tcb.send_side.snd_una
    ece = newest and tcb.ecn.agreed and segment.flags & (ECE | SYN) == ECE
    if advance and not ece and not segment.sack_blocks and recovery.plain:
        if recovery.on_plain_ack(advance, acked, now) or (acked and tcb.pacer.rate != inf):
            tcb.follow_congestion(now)
        return
    blocks: list[tuple[int, int]] = []
    dsack = NO_DSACK
    if segment.sack_blocks and tcb.sack:
        blocks, dsack = _blocks(tcb, segment, recovery.board.una + advance)
        if not newest and not blocks and dsack == NO_DSACK:
            return
    echo_age = -1.0
    if newest and tcb.timestamps and segment.ts_ecr:
        elapsed = (tcb.ts_now(now) - segment.ts_ecr) & MASK
        if elapsed < HALF:
            echo_age = elapsed / 1000
    recovery.on_ack(advance, acked, blocks, dsack, duplicate, ece, echo_age, now)
    probe = recovery.mtu_probe_over()
    if probe is not None:
        path_mtu = tcb.path_mtu  # RFC 8899 5.2
        if probe.arrived:
            path_mtu.arrived(probe.size, now)
        else:
            path_mtu.lost(probe.size, now)
        tcb.use_mss(path_mtu.size, now)
    tcb.follow_congestion(now)


def _blocks(tcb: Tcb, segment: Segment, una: int) -> tuple[list[tuple[int, int]], tuple[int, int]]:
    """Return the SACK blocks as positions, where `una` is the position of SND.UNA, and the DSACK, the range received
    twice. The first block is a DSACK if it is below the ACK of its segment, or within the second block (RFC 2883 5).

    Blocks beyond SND.NXT, and blocks older than any window allows, are left out."""
    send = tcb.send_side
    oldest, nxt = una - send.max_snd_wnd, una + send.flight_size
    blocks: list[tuple[int, int]] = []
    for left_edge, right_edge in segment.sack_blocks:
        left, right = una + diff(left_edge, send.snd_una), una + diff(right_edge, send.snd_una)
        if not oldest <= left < right <= nxt:
            left = right = una  # ignored, but kept in the list, because the order identifies the DSACK
        blocks.append((left, right))
    left, right = blocks[0]
    if left < right and (
        right <= una + diff(segment.ack, send.snd_una)
        or (len(blocks) > 1 and blocks[1][0] <= left and right <= blocks[1][1])
    ):
        return [block for block in blocks[1:] if una <= block[0] < block[1]], (left, right)
    return [block for block in blocks if una <= block[0] < block[1]], NO_DSACK
