"""Answers to those who proved nothing are rationed."""

import pytest

from tests.tcp.reach import established, last_ack
from tests.tcp.script import START, Script
from utcp.config import Config
from utcp.tcp.rate_limit import TO_ACK, TO_DATA, TO_KEEPALIVE, TO_RST, TO_SYN, AnswerLimits, TokenBucket


def test_bucket_begins_full_and_fills_at_its_rate() -> None:
    bucket = TokenBucket(10.0, 3.0)
    assert [bucket.take(START) for _ in range(4)] == [True, True, True, False]
    assert not bucket.take(START + 0.0625)
    assert bucket.take(START + 0.125)
    assert not bucket.take(START + 0.125)
    assert [bucket.take(START + 100) for _ in range(4)] == [True, True, True, False]


def test_bucket_takes_no_harm_from_a_clock_that_stands_still() -> None:
    bucket = TokenBucket(10.0, 1.0)
    assert bucket.take(START)
    assert not bucket.take(START - 1)
    assert not bucket.take(START)
    assert bucket.take(START + 0.125)


@pytest.mark.defect(57)
@pytest.mark.parametrize(("pause", "then"), [(15.75, 8.0), (16.0, 0.5)])
def test_time_between_answers_to_acks_begins_anew_after_a_pause(pause: float, then: float) -> None:
    limits = AnswerLimits()
    now = START
    for wait in (0.5, 1.0, 2.0, 4.0, 8.0, 8.0, pause, then):
        assert limits.take(TO_ACK, now, 0.5)
        assert not limits.take(TO_ACK, now + min(wait, 8.0) - 0.25, 0.5)
        now += wait
    assert limits.take(TO_ACK, now, 0.5)


@pytest.mark.parametrize("kind", [TO_SYN, TO_RST, TO_DATA, TO_KEEPALIVE])
def test_time_between_other_answers_stays(kind: int) -> None:
    limits = AnswerLimits()
    for number in range(10):
        assert limits.take(kind, START + number / 2, 0.5)
        assert not limits.take(kind, START + number / 2 + 0.25, 0.5)


def deluge(t: Script, count: int) -> int:
    """How many of so many ACKs of nothing, in one batch, are answered."""
    t.flow = t.flow_to(50001, 81)
    t.receives(*[". 1:1 ack 1"] * count)
    return len(t.drain())


def test_resets_in_reply_are_limited() -> None:
    t = Script(reset_rate=10)
    assert deluge(t, 150) == 100
    assert t.stack.counters.resets_withheld == 50
    t.advance(1)
    assert deluge(t, 15) == 10
    assert t.stack.counters.resets_withheld == 55


def test_thousands_are_refused_at_once() -> None:
    """As clients of a server that has just gone: the limit is for what goes on and on."""
    t = Script()
    assert deluge(t, 5000) == 5000
    assert t.stack.counters.resets_withheld == 0


def test_resets_of_connections_are_not_limited() -> None:
    t = established(reset_rate=0.1)
    flow = t.flow
    assert deluge(t, 5) == 1
    t.flow = flow
    t.abort()
    t.sends("R 1:1")


def test_a_syn_at_last_ack_is_refused_within_the_limit() -> None:
    t = last_ack(reset_rate=0.1)
    t.receives("S 1000:1000")
    t.sends("R. #0:#0 ack 1001")
    t.receives("S 1000:1000")
    t.silent()


@pytest.mark.parametrize("rate", [0, -1, float("inf"), float("nan")])
def test_rates_that_cannot_work_are_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="reset_rate"):
        Config(reset_rate=rate)


def test_cookie_modes_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ValueError, match="syn_cookies"):
        Config(syn_cookies="sometimes")  # type: ignore[arg-type]


def test_challenges_are_rationed_by_connection() -> None:
    """RFC 5961 7. A ration that connections shared would tell who uses it up on his own connection what happens on
    another (CVE-2016-5696): so none is shared."""
    t = established()
    first = t.flow
    t.connect(local_port=50001)
    second = t.flow
    t.sends("S 0:0")
    t.receives("S. 0:0 ack 1 <mss 1000>")
    t.sends(". 1:1 ack 1")
    first.receives(*["S 5:5"] * 1000)
    first.sends(". 1:1 ack 1")
    second.receives("S 5:5")
    second.sends(". 1:1 ack 1")
    t.advance(0.5)
    first.receives(*["R 5:5"] * 1000)
    first.sends(". 1:1 ack 1")
    assert t.stack.counters.challenge_acks == 3
