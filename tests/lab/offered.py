"""Finds the settings that make a difference in a scene, alone or when packets are lost or injected."""

from functools import cache

from utcp.lab.experiment import Experiment
from utcp.lab.play import play
from utcp.lab.settings import SETTINGS

OTHER = {
    "msl": "2",
    "rto_initial": "3",
    "rto_min": "1.5",
    "syn_retries": "1",
    "syn_ack_retries": "1",
    "retries": "2",
    "fin_retries": "2",
    "syn_in_last_ack": "challenge",
    "fin_wait_2_timeout": "5",
    "delayed_ack": "0.3",
    "timestamps": "off",
    "rfc1337": "off",
    "time_wait_reuse": "off",
    "keepalive": "off",
    "latency": "0.2",
}
"""A value for each setting that is not its default, nor that of a scene."""


@cache
def shown(experiment: str) -> list[object]:
    """What a run shows, without the variables of the ends."""
    played = play(Experiment.from_address(experiment))
    return [
        (
            round(rung.time, 6),
            rung.client,
            rung.server,
            rung.arrow and (rung.arrow.sender, rung.arrow.flags, rung.arrow.seq, rung.arrow.ack, rung.arrow.received),
        )
        for rung in played.rungs
        if rung.note is None
    ]


@cache
def witnesses(scene: str) -> list[str]:
    """Experiments in the scene without settings: what may go wrong there, from the likely to the rare."""
    played = play(Experiment(scene=scene))
    numbers = sorted(played.numbers.values())
    sent = {packet: round(played.rungs[index].time, 6) for index, packet in played.numbers.items()}
    found = [""]
    found += ["&".join(f"lose={n}" for n in range(first, first + 40)) for first in numbers[:12]]
    found += [f"lose={n}" for n in numbers]
    times = sorted({round(time + 0.07, 6) for time in sent.values()})
    for end in ("client", "server"):
        for time in times[:: 1 + len(times) // 12]:
            found += [f"inject={end}@{time}:{kind}" for kind in ("RST", "SYN", "DATA", "FIN")]
            found.append(f"inject={end}@{time}:DATA,seq=1,ts=none")
    return found


def makes_a_difference(scene: str, name: str) -> bool:
    """Whether a setting changes at least one of the experiments."""
    for edits in witnesses(scene):
        with_, without = (f"{scene}?{'&'.join(filter(None, (edits, part)))}" for part in (f"{name}={OTHER[name]}", ""))
        if shown(with_) != shown(without):
            return True
    return False


def offered(scene: str) -> list[str]:
    """The settings that make a difference in at least one of the experiments."""
    return [name for name in SETTINGS if makes_a_difference(scene, name)]
