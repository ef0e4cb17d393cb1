"""The same two peers as the state machine's, led by seeds alone: no shrinking, and many lives a minute."""

from random import Random

from tests.properties.world import World
from utcp.config import Config
from utcp.testing import Conditions

FLIPS = 0.2
PORTS = (80, 81)


def configuration(random: Random) -> Config:
    pick = random.choice
    return Config(
        mss=pick((None, None, 100, 536)),
        send_buffer=pick((2048, 20_000, 1 << 20)),
        recv_buffer=pick((2048, 10_000, 1 << 20)),
        nodelay=pick((True, False)),
        window_scaling=pick((True, False)),
        timestamps=pick((True, False)),
        sack=pick((True, False)),
        delayed_ack=pick((0.0, 0.04)),
        rto_min=pick((0.05, 0.2)),
        keepalive=random.random() < 0.1,
        keepalive_idle=30.0,
        keepalive_interval=5.0,
        user_timeout=20.0 if random.random() < 0.1 else None,
        msl=pick((0.5, 30.0)),
        rfc1337=pick((True, False)),
        time_wait_reuse=pick((True, False)),
        syn_in_last_ack=pick(("reset", "challenge")),
        ephemeral_ports=pick(((50000, 50003), (32768, 60999))),
        syn_retries=pick((3, 7)),
    )


def path(random: Random) -> Conditions:
    pick = random.choice
    return Conditions(
        latency=pick((0.0001, 0.01, 0.2)),  # not 0: two incarnations at one moment would have one ISN
        jitter=pick((0.0, 0.01)),
        bandwidth=pick((None, None, 1e5)),
        queue=pick((5, 1000)),
        loss=pick((0.0, 0.0, 0.05, 0.3, 1.0)),
        burst_loss=pick((0.0, 0.0, 0.8)),
        duplicate=pick((0.0, 0.05, 0.3)),
        reorder=pick((0.0, 0.05, 0.3)),
        reorder_delay=pick((0.01, 0.3, 5.0)),
    )


def act(world: World, random: Random) -> None:
    """One thing that happens."""
    what = random.random()
    user = random.choice(world.live) if world.live else None
    name = random.choice("ab")
    if what < 0.10:
        world.open(name, random.choice(PORTS), random.choice((None, None, 7000, 7001)))
    elif what < 0.20:
        world.open("a", 6001, 6000)
        world.advance(random.choice((0.0, 0.001, 0.005)))
        world.open("b", 6000, 6001)
    elif what < 0.26:
        random.choice((world.listen, world.stop_listening))(name, random.choice(PORTS))
    elif what < 0.28:
        world.accept(name)
    elif what < 0.36:
        world.conditions(path(random))
    elif what < 0.44:
        world.advance(random.choice((0.001, 0.1, 2.0, 70.0)))
    elif user is None:
        return
    elif what < 0.62:
        user.write(random.choice((0, 1, 100, 1000, 5000, 40_000)))
    elif what < 0.72:
        user.shutdown()
    elif what < 0.80:
        user.close()
    elif what < 0.84:
        user.abort()
    elif what < 0.90:
        user.paused = True
    elif what < 0.94:
        user.take(random.choice((1, 500, 3000)))
    else:
        user.paused = False
        user.take(-1)


def run(seed: int, flips: float = 0.0) -> World:
    """A whole life of two stacks. Raises with what was sent in the error's notes."""
    random = Random(seed)
    world = World(seed, {name: configuration(random) for name in "ab"}, path(random), flips)
    try:
        for port in PORTS:
            world.listen("b", port)
            world.open("a", port, None)
        for _ in range(random.randint(3, 30)):
            act(world, random)
            world.advance(random.choice((0.0, 0.0, 0.001, 0.02, 0.3)))
        world.finish()
    except BaseException as error:
        error.add_note(f"{world.history()}\nseed {seed}, flips {flips}")
        raise
    return world
