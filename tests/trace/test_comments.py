"""Comments of captures: what is written is read back, and what others wrote is left alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp.trace.comments import Comment, format_comment, parse_comment, transit_times

FULL: Comment = {
    "role": "client",
    "direction": "out",
    "state": "ESTABLISHED",
    "timer": "retransmit",
    "retransmits": 2,
    "retransmission": True,
    "cwnd": 1448,
    "ssthresh": 2896,
    "snd_wnd": 65535,
    "rcv_wnd": 131072,
    "in_flight": 1448,
    "srtt": 0.0123,
    "rto": 0.8,
    "running": "retransmit:0.8,keepalive:7200",
    "lost": True,
}
TEXT = (
    "client direction=out state=ESTABLISHED timer=retransmit retransmits=2 retransmission cwnd=1448 ssthresh=2896 "
    "snd_wnd=65535 rcv_wnd=131072 in_flight=1448 srtt=0.0123 rto=0.8 running=retransmit:0.8,keepalive:7200 lost"
)


def test_the_form_is_fixed() -> None:
    assert format_comment(FULL) == TEXT
    assert parse_comment(TEXT) == FULL


def test_what_is_unknown_is_absent() -> None:
    assert format_comment({}) == ""
    assert format_comment({"state": "CLOSED", "lost": False}) == "state=CLOSED"
    assert parse_comment("state=CLOSED") == {"state": "CLOSED"}


@pytest.mark.parametrize(
    ("value", "text"), [(0.0000004, "0"), (1e-6, "0.000001"), (7200.0, "7200"), (1e9, "1000000000")]
)
def test_seconds_have_no_exponent(value: float, text: str) -> None:
    assert format_comment({"rto": value}) == f"rto={text}"


def test_the_name_of_a_host_is_one_word() -> None:
    assert parse_comment(format_comment({"role": "left host", "state": "LISTEN"}))["role"] == "left_host"


@pytest.mark.parametrize("text", ["lost", "duplicated", "lost duplicated"])
def test_a_fate_stands_alone(text: str) -> None:
    assert parse_comment(text) == dict.fromkeys(text.split(), True)


@pytest.mark.parametrize("text", ["", "look here", "this one got lost on the way", "see a=b", "=", "cwnd= = x"])
def test_comments_of_others_say_nothing(text: str) -> None:
    assert parse_comment(text) == {}


@pytest.mark.parametrize(
    "nonsense",
    [
        "cwnd=-1",
        "cwnd=1.5",
        "cwnd=much",
        "rto=soon",
        "rto=1e3",
        "rto=.",
        "timer=",
        "²=²",
        "cwnd=²",
        "cwnd=" + 5000 * "9",
        "rto=" + 400 * "9",
    ],
)
def test_values_that_make_no_sense_are_left_out(nonsense: str) -> None:
    assert parse_comment(f"state=ESTABLISHED {nonsense} new_key=1 srtt=0.5") == {"state": "ESTABLISHED", "srtt": 0.5}


counts = st.integers(0, 2**40)
times = st.integers(0, 10**12).map(lambda microseconds: microseconds / 10**6)
words = st.sampled_from(["ESTABLISHED", "x", "retransmit:0.198,keepalive:7200"])


@given(
    st.fixed_dictionaries(
        {"state": words},
        optional={
            "role": st.sampled_from(["client", "server", "left"]),
            "direction": words,
            "timer": words,
            "running": words,
            "flight": st.sampled_from(["0.02", "0.000000001,0.5"]),
            **dict.fromkeys(("retransmits", "cwnd", "ssthresh", "snd_wnd", "rcv_wnd", "in_flight"), counts),
            **dict.fromkeys(("srtt", "rto"), times),
            **dict.fromkeys(("retransmission", "lost", "duplicated"), st.just(True)),
        },
    )
)
def test_what_is_written_is_read_back(comment: Comment) -> None:
    assert parse_comment(format_comment(comment)) == comment


@given(st.text())
def test_any_text_can_be_read(text: str) -> None:
    parse_comment(text)


@pytest.mark.parametrize(
    ("text", "flights"),
    [
        ("flight=0.02", [0.02]),
        ("flight=0.02,0.0305 duplicated", [0.02, 0.0305]),
        ("lost", []),
        ("state=CLOSED flight=soon", []),
        ("state=CLOSED flight=0.02,", []),
    ],
)
def test_how_long_each_that_arrived_was_under_way(text: str, flights: list[float]) -> None:
    assert transit_times(parse_comment(text)) == flights
