"""Whoever forges a source makes us send its victim no more octets than he sends us."""

from typing import Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.tcp.reach import syn_rcvd
from tests.tcp.script import MSS, SECRET, START, Script
from utcp.config import Config
from utcp.tcp.stack import Stack
from utcp.wire import ACK, FIN, RST, SYN, Segment, encode

ports = st.sampled_from([0, 80, 81, 50000])
numbers = st.integers(0, 2**32 - 1)


@st.composite
def segments(draw: st.DrawFn) -> bytes:
    """Any segment, well-formed."""
    ts = draw(st.booleans())
    return encode(
        Segment(
            draw(ports),
            draw(ports),
            draw(numbers),
            draw(numbers),
            draw(st.sampled_from([SYN, ACK, FIN | ACK, FIN, RST, SYN | ACK, SYN | FIN, 0]) | st.integers(0, 255)),
            draw(st.integers(0, 65535)),
            draw(st.binary(max_size=64)),
            ts_val=draw(numbers) if ts else None,
            ts_ecr=draw(numbers) if ts else None,
            mss=draw(st.none() | st.integers(0, 65535)),
            window_scale=draw(st.none() | st.integers(0, 255)),
            sack_permitted=draw(st.booleans()),
        )
    )


@st.composite
def tight_syns(draw: st.DrawFn) -> bytes:
    """A SYN with its options packed as closely as they go: nobody sends such ones without a purpose."""
    parts = draw(
        st.lists(
            st.sampled_from([b"\x02\x04\x05\xac", b"\x03\x03\x07", b"\x04\x02", b"\x08\x0a" + bytes(8), b"\x01"]),
            max_size=6,
            unique=True,
        )
    )
    options = b"".join(parts)
    options += bytes(-len(options) % 4)
    header = bytearray(encode(Segment(50000, 80, draw(numbers), 0, SYN, 65535)))
    header[12] = (20 + len(options)) << 2
    return bytes(header) + options


@given(
    st.lists(segments() | tight_syns() | st.binary(max_size=80), min_size=1, max_size=4),
    st.sampled_from(["always", "overflow", "never"]),
)
@example([encode(Segment(50000, 80, 7, 0, SYN))], "always")
@example([encode(Segment(50000, 80, 7, 0, SYN))], "overflow")
@settings(derandomize=True, max_examples=200)
def test_no_reply_to_an_unknown_source_is_longer_than_what_came(
    datagrams: list[bytes], mode: Literal["always", "overflow", "never"]
) -> None:
    """In octets and in number, datagram for datagram, each from another source."""
    stack = Stack(Config(syn_cookies=mode), secret=SECRET)
    stack.listen(80, START)
    for source, data in enumerate(datagrams):
        stack.receive_datagram(data, source, START)
        replies = [reply for transmit in stack.datagrams_to_send(START) for reply in transmit.datagrams()]
        assert len(replies) <= 1
        assert sum(map(len, replies)) <= len(data)


@given(st.lists(segments() | tight_syns(), min_size=2, max_size=8), st.integers(20, 80))
@settings(derandomize=True, max_examples=60)
def test_no_reply_to_a_train_is_longer_than_the_train(datagrams: list[bytes], size: int) -> None:
    stack = Stack(secret=SECRET)
    stack.listen(80, START)
    train = b"".join(datagram.ljust(size, b"\0")[:size] for datagram in datagrams)
    stack.receive_datagram(train, "source", START, size)
    assert sum(transmit.size for transmit in stack.datagrams_to_send(START)) <= len(train)


def test_syn_without_options_gets_a_syn_ack_without_options() -> None:
    """The peer then sends segments of 536 or 1220 octets (RFC 9293 3.7.1), and so do we: that is what it asked for."""
    for mode in ("always", "never"):
        t = Script(syn_cookies=mode)
        t.listen()
        t.receives("S 0:0")
        (answer,) = t.sends("S. 0:0 ack 1")
        assert len(encode(answer)) == 20
        t.receives(". 1:1 ack 1")
        t.accept()
        assert t.info.snd_mss == 536


@pytest.mark.parametrize("missing", ["ts", "sackOK", "wscale"])
def test_a_shorter_syn_does_not_bring_the_long_answer_again(missing: str) -> None:
    """The SYN-ACK of a half-open connection is as long as its first SYN: a repeated SYN must have all that was agreed
    on, or the timer answers it."""
    options = [f"mss {MSS}", "ts", "sackOK", "wscale 7"]
    full = ",".join(options)
    t = syn_rcvd(options=full)
    t.receives(f"S 0:0 <{','.join(option for option in options if not option.startswith(missing))}>")
    t.silent()
    t.receives(f"S 0:0 <{full}>")
    t.sends(f"S. 0:0 ack 1 <mss {MSS},sackOK,ts,wscale 9>")
    t.sends_after(1.0, "S. 0:0 ack 1")


def test_a_repeated_syn_without_mss_gets_an_answer_without() -> None:
    """Nothing was agreed on by it."""
    t = syn_rcvd(options=f"mss {MSS}")
    t.receives("S 0:0")
    (answer,) = t.sends("S. 0:0 ack 1")
    assert answer.mss is None


@pytest.mark.rfc("4987", "3.3-1")
def test_how_much_a_forged_syn_brings_its_victim_in_all() -> None:
    """A SYN-ACK that nobody answers is sent again as often as `syn_ack_retries` says: 5 times, as by Linux. Cookies are
    not, since nothing remembers them."""
    for mode, times in (("never", 6), ("always", 1)):
        t = Script(syn_cookies=mode)
        t.listen()
        t.receives("S 0:0 <mss 1000,sackOK,ts,wscale 7>")
        t.advance(300)
        answers = t.drain()
        assert len(answers) == times
        assert all(len(encode(answer)) == 40 for answer in answers)


def test_fins_and_data_of_nobody_bring_one_reset_each() -> None:
    t = Script()
    t.flow = t.flow_to(50000, 80)
    t.receives("P. 1:1001 ack 1", "F. 1001:1001 ack 1", "- 5:5", "R 5:5", "R. 5:5 ack 1")
    assert [len(encode(reset)) for reset in t.drain()] == [20, 20, 20]
