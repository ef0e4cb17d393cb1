"""Lives with random knobs, applications and paths, each led by a seed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Any

from tests.properties.application import Plan
from tests.properties.lives import Change, Life
from utcp.config import Config
from utcp.testing import Conditions


@dataclass
class Draw:
    """What a seed stands for: everything that can be made smaller when it fails."""

    seed: int
    knobs: dict[str, dict[str, Any]]
    plans: dict[str, Plan]
    changes: list[Change]
    lag: float = 0.0
    crowded: bool = False

    def life(self) -> Life:
        configs = {name: Config(**knobs) for name, knobs in self.knobs.items()}
        return Life(self.seed, configs, self.plans, self.changes, lag=self.lag, crowded=self.crowded)


def knobs(random: Random) -> dict[str, Any]:
    pick = random.choice
    return {
        "congestion_control": pick(("cubic", "newreno", "bbr")),
        "sack": random.random() < 0.75,
        "timestamps": random.random() < 0.7,
        "window_scaling": random.random() < 0.8,
        "ecn": pick(("off", "accept", "request", "request")),
        "nodelay": random.random() < 0.6,
        "mss": pick((None, None, None, 100, 536, 1400)),
        "recv_buffer": pick((None, None, 2048, 4096, 20_000, 200_000)),
        "send_buffer": pick((None, None, 2048, 20_000, 200_000)),
        "initial_recv_buffer": pick((1 << 20, 1 << 16, 1 << 14)),
        "delayed_ack": pick((0.0, 0.04, 0.04, 0.2)),
        "max_ack_delay": 0.2,
        "syn_cookies": pick(("always", "overflow", "overflow", "never")),
        "rto_min": pick((0.2, 0.2, 0.05, 1.0)),
        "keepalive": random.random() < 0.2,
        "keepalive_idle": pick((3.0, 60.0)),
        "keepalive_interval": 2.0,
        "keepalive_count": 100,
        "msl": pick((30.0, 30.0, 5.0)),
        "syn_retries": 20,
        "syn_ack_retries": 20,
        "retries": 40,
        "fin_retries": 40,
        "orphan_timeout": None,  # delivery over a bad path may take longer than 300 s
        "fin_wait_2_timeout": 600.0,
    }


def conditions(random: Random) -> Conditions:
    pick = random.choice
    bad = random.random() < 0.8
    return Conditions(
        latency=pick((0.0001, 0.001, 0.01, 0.03, 0.15)),
        jitter=pick((0.0, 0.0, 0.0005, 0.02)),
        bandwidth=pick((None, None, 3e5, 2e6, 2e7)),
        queue=pick((3, 8, 30, 300)),
        ecn_threshold=pick((None, 2, 10)),
        loss=pick((0.0, 0.0, 0.01, 0.05, 0.2)) * bad,
        burst_loss=pick((0.0, 0.0, 0.5, 0.9)) * bad,
        burst_start=pick((0.002, 0.01)),
        duplicate=pick((0.0, 0.0, 0.0, 0.05, 0.3)) * bad,
        reorder=pick((0.0, 0.0, 0.0, 0.02, 0.2)) * bad,
        reorder_delay=pick((0.002, 0.01, 0.1, 1.0)),
        mtu=pick((1500, 1500, 1500, 1500, 1400, 1228)),
        icmp_too_big=pick((False, True)),
    )


def pauses(random: Random, octets: int) -> tuple[tuple[int, float], ...]:
    if random.random() < 0.6 or octets < 2:
        return ()
    places = sorted(random.randrange(1, octets) for _ in range(random.choice((1, 1, 2, 5))))
    return tuple((place, random.choice((0.05, 0.3, 1.0, 3.0, 8.0))) for place in places)


def draw(seed: int) -> Draw:
    random = Random(seed)
    pick = random.choice
    there = conditions(random)
    back = conditions(random) if random.random() < 0.3 else there
    back = replace(back, bandwidth=pick((there.bandwidth, None)))
    changes = [Change(0.0, there, back)]
    time = 0.0
    for _ in range(pick((0, 0, 0, 1, 2))):
        time += pick((0.05, 0.3, 1.0, 4.0))
        if random.random() < 0.5:
            cut = Conditions(loss=1.0)
            changes.append(Change(time, cut, cut))
            time += pick((0.1, 0.5, 1.0, 3.0, 10.0, 30.0))
        else:
            there = conditions(random)
            back = replace(there, bandwidth=back.bandwidth)
        changes.append(Change(time, there, back))
    big = pick((0, 0, 0, 1))
    amounts = (0, 1, 1000, 20_000, 60_000, 200_000, 600_000 if big else 100_000)
    plans = {}
    for name in "ab":
        octets = pick(amounts)
        plans[name] = (octets, pick((1 << 16, 1 << 16, 5000, 700)))
    made: dict[str, Plan] = {}
    for name in "ab":
        octets, piece = plans[name]
        made[name] = Plan(
            octets=octets,
            piece=piece,
            writing_pauses=pauses(random, octets),
            read_size=pick((-1, -1, -1, 3000, 500)),
            reading_pauses=pauses(random, plans["b" if name == "a" else "a"][0]),
            closes_at_once=random.random() < 0.3,
        )
    settings = {name: knobs(random) for name in "ab"}
    for name in "ab":
        if settings[name]["mss"] == 100 and max(octets for octets, _ in plans.values()) > 60_000:
            settings[name]["mss"] = 536
    if not all(chosen["timestamps"] for chosen in settings.values()):
        for chosen in settings.values():  # by Karn's rule alone RTO stays backed off for long where much is lost
            chosen["rto_max"] = 4.0
    crowded = random.random() < 0.1
    if crowded:
        settings["b"]["syn_backlog"] = 1
        settings["b"]["syn_cookies"] = "overflow"
    return Draw(seed, settings, made, changes, pick((0.0, 0.0, 0.0, 0.001, 0.01)), crowded)


def run(seed: int) -> Life:
    """The whole life. Raises with what was drawn and sent in the error's notes."""
    drawn = draw(seed)
    life = drawn.life()
    try:
        life.run()
    except BaseException as error:
        error.add_note(f"{life.history()}\n{drawn}")
        raise
    return life
