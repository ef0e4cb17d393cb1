"""The address of an experiment: short, readable, canonical; what is wrong in it is named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp.lab import EXERCISES, Experiment, ExperimentError
from utcp.lab.experiment import ACTIONS, EDITS, KINDS, SCENES, Edit, Injection


@pytest.mark.parametrize(
    "address",
    [
        "four-way",
        "lost-last-ack?msl=2&lose=9&delay=12:0.3",
        "four-way?client.msl=0&duplicate=3:1.5&corrupt=3",
        "syn-hits-last-ack?syn_in_last_ack=challenge",
        "four-way?inject=server@1.2:RST-ACK,seq=-5,ack=3,ts=none&inject=client@3:DATA,length=20,ts=-5000",
        "own?do=client@0:open&do=client@0.5:send,30&lose=1",
        *(exercise.solution for exercise in EXERCISES.values()),
    ],
)
def test_a_canonical_address_stays_as_it_is(address: str) -> None:
    assert Experiment.from_address(address).to_address() == address


def test_the_order_of_the_parts_does_not_matter() -> None:
    first = Experiment.from_address("#lost-last-ack?lose=9&msl=2&lose=4&lose=9;step=4")
    assert first == Experiment.from_address("lost-last-ack%3Fmsl%3D2.0&lose=4&lose=9")
    assert first.to_address() == "lost-last-ack?msl=2&lose=4&lose=9"


def test_a_script_of_ones_own_is_spelled_out() -> None:
    assert Experiment.from_address("own").parts()[1] == "do=client@0:open"
    assert not Experiment.from_address("own").edited
    assert not Experiment.from_address("own?do=client@0:open").edited


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("", "No scene is called ''. The scenes are four-way, three-way,"),
        ("five-way", "No scene is called 'five-way'"),
        ("four-way?lose", "'lose' has no value"),
        ("four-way?lose=", "'lose=' does not name a packet"),
        ("four-way?lose=0", "'lose=0' does not name a packet: packets have the numbers 1 to 9999"),
        ("four-way?lose=²", "does not name a packet"),
        ("four-way?lose=3:1", "'lose=3:1' has a time, but lose needs none"),
        ("four-way?delay=3", "'delay=3' has no delay"),
        ("four-way?delay=3:-1", "'delay=3:-1' has no valid time"),
        ("four-way?delay=3:1e9", "has no valid time"),
        ("four-way?lose=3&delay=3:1", "Packet 3 cannot be lost, corrupted or delayed at the same time"),
        ("four-way?steal=3", "'steal' is neither an edit"),
        ("four-way?msl=x", "msl must be a number of seconds from 0 to 600, not 'x'"),
        ("four-way?msl=601", "msl must be a number of seconds from 0 to 600, not '601'"),
        ("four-way?msl=1&msl=2", "The setting msl is chosen twice"),
        ("four-way?retries=1.5", "retries must be a whole number from 0 to 20, not '1.5'"),
        ("four-way?timestamps=yes", "timestamps must be one of on, off, not 'yes'"),
        ("four-way?client.latency=1", "Both ends share latency"),
        ("four-way?middle.msl=1", "'middle.msl' is neither an edit"),
        ("four-way?inject=client:RST", "does not begin with an end and a time"),
        ("four-way?inject=nobody@1:RST", "does not begin with an end and a time"),
        ("four-way?inject=client@1:URG", "does not name a segment that can be injected: SYN,"),
        ("four-way?inject=client@1:RST,ack=1", "a segment of the kind RST has no ACK number"),
        ("four-way?inject=client@1:RST,seq=a", "seq must be a whole number"),
        ("four-way?inject=client@1:RST,seq", "seq must be a whole number"),
        ("four-way?inject=client@1:RST,port=1", "'port=1' is not a field"),
        ("four-way?inject=client@1:DATA,length=99999", "the length must be 0 to 1400 octets"),
        ("four-way?do=client@1:close", "Only the scene “own” has steps of its own"),
        ("own?do=client@1:jump", "does not name a step: open,"),
        ("own?do=client@1:send", "write send,OCTETS"),
        ("own?do=client@1:close,5", "does not name a step"),
        ("four-way?" + "&".join(f"lose={n}" for n in range(1, 99)), "at most 60 parts"),
    ],
)
def test_what_is_wrong_is_named(address: str, said: str) -> None:
    with pytest.raises(ExperimentError) as caught:
        Experiment.from_address(address)
    assert said in str(caught.value)
    assert caught.value.text.zh != caught.value.text.en


@given(st.text() | st.text("four-way?&=:@,.-;#losedaymi0123456789"))
def test_any_text_is_an_experiment_or_an_error(address: str) -> None:
    for each in (address, f"four-way?{address}", f"own?do={address}", f"four-way?inject=client@{address}"):
        try:
            experiment = Experiment.from_address(each)
        except ExperimentError:
            continue
        assert Experiment.from_address(experiment.to_address()) == experiment


_times = st.integers(0, 3_600_000).map(lambda milliseconds: milliseconds / 1000)
_ends = st.sampled_from(["client", "server"])


@given(
    st.lists(st.builds(Edit, st.sampled_from(EDITS[:1]), st.integers(1, 9999)), max_size=10),
    st.lists(
        st.builds(
            Injection, _ends, _times, st.sampled_from(sorted(KINDS)), st.none() | st.integers(-99, 99), st.none(),
            st.integers(0, 1400), st.none() | st.integers(-99, 99),
        ),
        max_size=5,
    ),
)  # fmt: skip
def test_an_address_has_everything(edits: list[Edit], injections: list[Injection]) -> None:
    experiment = Experiment(scene=SCENES[0], edits=tuple(edits), injections=tuple(injections))
    assert Experiment.from_address(experiment.to_address()) == experiment


def test_every_step_can_be_written() -> None:
    parts = [f"do=client@1:{action}{',5' if action == 'send' else ''}" for action in ACTIONS]
    assert Experiment.from_address(f"own?{'&'.join(parts)}").parts() == parts
