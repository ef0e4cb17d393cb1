"""An experiment's run: equal to `utcp demo` without edits, the same every time, and true about its edits."""

import hashlib
import json
import re
from importlib.resources import files
from typing import Any

import pytest

from utcp.lab import Experiment, run
from utcp.lab.experiment import SCENES
from utcp.lab.play import play
from utcp.lab.words import tables
from utcp.scenes import NAMES, load

each = pytest.mark.parametrize("name", NAMES)


@each
def test_without_edits_it_is_the_scene(name: str) -> None:
    played, scene = play(Experiment(scene=name)), load(name).play()
    assert played.rungs == scene.rungs
    assert tuple(played.exhibits) == scene.exhibits
    assert not played.checks
    assert played.ending[0] == "finished"


@pytest.mark.parametrize("name", SCENES)
def test_every_segment_has_the_number_of_its_packet(name: str) -> None:
    played = play(Experiment(scene=name))
    segments = [index for index, rung in enumerate(played.rungs) if rung.arrow is not None]
    assert list(played.numbers) == segments
    assert len(set(played.numbers.values())) == len(segments)


@pytest.mark.parametrize(
    "address",
    [*SCENES, "four-way?msl=2&lose=3&delay=7:0.3&duplicate=9:1&corrupt=11&inject=client@1.2:RST", "own?lose=5&lose=9"],
)
def test_the_same_address_gives_the_same_octets(address: str) -> None:
    first, second = (json.dumps(run(Experiment.from_address(address))) for _ in range(2))
    assert first == second


def test_the_srtt_is_a_variable_from_the_first_sample_on() -> None:
    rungs = run(Experiment(scene="four-way"))["rungs"]
    syn = next(rung for rung in rungs if rung["arrow"] is not None)
    assert "SRTT" not in {variable["name"] for variable in syn["client"]["variables"]}
    seen = [variable for rung in rungs for variable in rung["client"]["variables"] if variable["name"] == "SRTT"]
    assert (seen[0]["before"], seen[0]["after"]) == ("", "100 ms")


def test_what_is_edited_happens_and_is_told() -> None:
    result = run(Experiment.from_address("four-way?lose=3&delay=5:0.2&corrupt=6&duplicate=7:0.4&lose=88"))
    told = {edit["part"]: (edit["found"], edit["rung"]) for edit in result["edits"]}
    assert list(told) == result["parts"]
    assert told["lose=88"] == (False, None)
    fates = {rung["packet"]: rung for rung in result["rungs"] if rung["packet"]}
    assert fates[3]["fate"] == "lost"
    assert fates[6]["fate"] == "corrupt"
    assert fates[5]["arrow"]["received"] - fates[5]["arrow"]["sent"] == pytest.approx(0.25)
    copies = [rung for rung in result["rungs"] if rung["fate"] == "copy"]
    assert len(copies) == 1
    assert copies[0]["arrow"]["received"] - fates[7]["arrow"]["sent"] == pytest.approx(0.45)
    assert fates[3]["edits"] == ["lose=3"]
    assert result["rungs"][told["lose=3"][1]]["packet"] == 3


def test_a_forged_segment_takes_the_next_numbers() -> None:
    result = run(Experiment.from_address("four-way?inject=client@0.8:DATA"))
    forged = next(rung for rung in result["rungs"] if rung["injected"])
    assert forged["arrow"] == {
        "sender": "client", "flags": "PSH,ACK", "seq": 30, "ack": 1, "length": 10, "sent": 0.8, "received": 0.85,
        "retransmission": False, "timer": None,
    }  # fmt: skip
    assert [reason["text"] for reason in forged["decision"]] == [
        "The data is in order. It goes to the application, and is acknowledged."
    ]
    assert {"name": "RCV.NXT", "before": "30", "after": "40", "changed": True} in forged["server"]["variables"]
    assert not forged["client"]["touched"]


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("four-way?inject=client@1.2:SYN", "RFC 5961 4.2"),
        ("four-way?inject=client@0.8:RST,seq=40", "RFC 5961 3.2"),
        ("four-way?inject=client@0.8:RST,seq=-40", "RFC 9293 3.10.7.4"),
        ("four-way?inject=client@0.8:RST", "RFC 9293 3.10.7.4, RFC 5961 3.2"),
        ("four-way?inject=client@0.8:DATA,ts=-50000", "RFC 7323 3.2, 5.3"),
        ("four-way?inject=client@0.8:DATA,seq=1", "RFC 9293 3.10.7.4, first check"),
        ("four-way?inject=client@0.8:DATA,seq=90", "RFC 9293 3.10.7.4, RFC 5681 4.2"),
        ("four-way?inject=server@9:RST", "RFC 1337"),
        ("four-way?inject=server@9:DATA", "RFC 9293 3.10.7.4, first check"),
        ("four-way?inject=client@9:ACK", "RFC 9293 3.10.7.2"),
        ("three-way?inject=server@0.03:SYN-ACK,ack=9", "RFC 9293 3.10.7.3"),
        ("syn-hits-last-ack", "RFC 9293 3.10.7.4"),
    ],
)
def test_the_section_that_decided(address: str, source: str) -> None:
    result = run(Experiment.from_address(address))
    decided = {
        reason["source"]
        for rung in result["rungs"]
        if rung["injected"] or not result["edited"]
        for reason in rung["decision"]
        if rung["arrow"]["sender"] != reason["end"]
    }
    assert source in decided


def test_an_error_of_the_script_is_a_result() -> None:
    result = run(Experiment.from_address("four-way?inject=server@1.2:RST"))
    assert result["ending"]["kind"] == "error"
    assert "ended with ConnectionReset: " in result["ending"]["text"]
    assert result["paths"]["server"][-1] == 0  # the protocol ran on to its end


def test_a_script_that_waits_for_ever_is_a_result() -> None:
    result = run(Experiment.from_address("own?do=server@0:listen&do=client@0:open"))
    assert result["ending"]["kind"] == "waiting"
    assert result["duration"] < 200


@pytest.mark.long
def test_a_storm_is_bounded() -> None:
    packets = "&".join(f"do=client@{n / 10}:send,100000" for n in range(1, 40))
    result = run(Experiment.from_address(f"own?do=server@0:listen&do=client@0:open&{packets}"))
    assert result["ending"]["kind"] == "limit"


def test_what_a_scene_checks_is_said_in_chinese_too() -> None:
    said = run(Experiment.from_address("late-ack?rto_min=2"), "zh")["checks"]
    assert said == ["报文段，第 1 个：无，而不是 客户端 FIN,ACK 30 ack 1"]
    sources = [path.read_text("utf-8") for path in files("utcp.scenes").iterdir() if path.name.endswith(".py")]
    looked_at = {
        what.replace("{end}", end)
        for source in sources
        for what in re.findall(r'\.expect\(\s*f?"([^"]+)"', source)
        for end in ("client", "server")
    }
    assert set(tables("chinese")["checks"]) == looked_at


def test_the_timers_of_a_lost_syn() -> None:
    result = run(Experiment.from_address("four-way?rto_initial=2&lose=1"))
    syn = next(rung for rung in result["rungs"] if rung["packet"] == 1)
    assert [(timer["name"], timer["fires_at"]) for timer in syn["client"]["timers"]] == [("retransmit", 2.0)]
    again = next(rung for rung in result["rungs"] if rung["packet"] == 2)
    assert again["time"] == 2.0
    assert again["arrow"]["timer"] == "retransmit"


def test_settings_of_one_end_and_of_the_path() -> None:
    result = run(Experiment.from_address("simultaneous?msl=2&server.msl=1&latency=0.1"))
    assert result["checks"]
    ends = {
        end: max(rung["time"] for rung in result["rungs"] if rung["kind"] == "state" and rung[end]["edge"] == "10-0")
        for end in ("client", "server")
    }
    assert ends["client"] - ends["server"] == pytest.approx(2.0)


RECORDED = {
    "four-way?msl=2&lose=3&delay=7:0.3&duplicate=9:1&inject=client@1.2:SYN": "5852b0c53bfba2a787f0b681cdeabf09",
    "lost-last-ack?client.rto_min=1&lose=8&inject=server@9:RST": "d9d60f9234cf0e7f4e46419c76e3630a",
    "own?lose=5&lose=9": "9aee8bf57108f70a9ae31c7735fe7034",
}
"""Digests of what happened, without the sentences and the drawings, so that every Python gives the same octets."""

PROSE = ("heading", "said", "note", "fields", "text", "title", "meaning", "source")


def facts(value: Any) -> Any:
    """A part of a run without its sentences."""
    if isinstance(value, dict):
        return {key: facts(each) for key, each in value.items() if key not in PROSE}
    return [facts(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize("address", RECORDED)
def test_every_python_gives_the_same_octets(address: str) -> None:
    """What has changed on purpose is recorded anew: the message of the failure has the digest."""
    result = run(Experiment.from_address(address))
    octets = json.dumps([facts(result[key]) for key in ("rungs", "edits", "paths", "duration", "digest")]).encode()
    assert hashlib.blake2b(octets, digest_size=16).hexdigest() == RECORDED[address]


def test_with_a_time_wait_the_lost_ack_is_sent_again() -> None:
    """The experiment that the scene without TIME_WAIT suggests: give the client one."""
    without, with_ = (run(Experiment.from_address(address)) for address in ("no-time-wait", "no-time-wait?msl=60"))
    sent = [rung["arrow"]["flags"] for rung in without["rungs"] if rung["arrow"]]
    assert sent[-1] == "RST"
    sent = [rung["arrow"]["flags"] for rung in with_["rungs"] if rung["arrow"]]
    assert sent[-4:] == ["FIN,ACK", "ACK", "FIN,ACK", "ACK"]
    assert with_["ending"]["kind"] == "finished"
    assert with_["checks"]  # what the scene shows no longer holds


def test_a_script_may_pause_for_long() -> None:
    result = run(Experiment.from_address("own?do=server@0:listen&do=client@0:open&do=client@3600:close"))
    assert result["ending"]["kind"] == "finished"
    assert sum(rung["arrow"] is not None and "FIN" in rung["arrow"]["flags"] for rung in result["rungs"]) == 2


def test_a_run_that_waits_tells_when_the_last_thing_happened() -> None:
    result = run(Experiment.from_address("lost-last-ack?fin_wait_2_timeout=0.2"))
    assert result["ending"]["kind"] == "waiting"
    latest = max(rung["arrow"]["received"] for rung in result["rungs"] if rung["arrow"] and rung["arrow"]["received"])
    assert f"After {latest:g} s" in result["ending"]["text"]
