"""Random users of two stacks over a random path, as a hypothesis state machine."""

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.properties import forgery
from tests.properties.world import PEER, User, World
from utcp.config import Config
from utcp.testing import Conditions

PORTS = [80, 81]
LOCAL_PORTS = [None, None, 7000, 7001]

hosts = st.sampled_from(sorted(PEER))
which = st.integers(0, 5)
shares = st.sampled_from([0.0, 0.0, 0.05, 0.3])

configs = st.builds(
    Config,
    mss=st.sampled_from([None, None, 100, 536]),
    send_buffer=st.sampled_from([2048, 20_000, 1 << 20]),
    recv_buffer=st.sampled_from([2048, 10_000, 1 << 20]),
    nodelay=st.booleans(),
    window_scaling=st.booleans(),
    timestamps=st.booleans(),
    sack=st.booleans(),
    delayed_ack=st.sampled_from([0.0, 0.04]),
    rto_min=st.sampled_from([0.05, 0.2]),
    keepalive=st.sampled_from([False, False, False, True]),
    keepalive_idle=st.just(30.0),
    keepalive_interval=st.just(5.0),
    user_timeout=st.sampled_from([None, None, None, 20.0]),
    msl=st.sampled_from([0.5, 30.0]),
    rfc1337=st.booleans(),
    time_wait_reuse=st.booleans(),
    syn_in_last_ack=st.sampled_from(["reset", "challenge"]),
    ephemeral_ports=st.sampled_from([(50000, 50003), (32768, 60999)]),
)

paths = st.builds(
    Conditions,
    latency=st.sampled_from([0.0001, 0.01, 0.2]),
    jitter=st.sampled_from([0.0, 0.01]),
    bandwidth=st.sampled_from([None, None, 1e5]),
    queue=st.sampled_from([5, 1000]),
    loss=shares,
    burst_loss=st.sampled_from([0.0, 0.0, 0.8]),
    duplicate=shares,
    reorder=shares,
    reorder_delay=st.sampled_from([0.01, 0.3, 5.0]),
    corrupt=st.sampled_from([0.0, 0.05]),
)

recipes = st.builds(
    forgery.Recipe,
    flags=st.sampled_from(forgery.FLAGS),
    seq=st.sampled_from(forgery.SEQS),
    seq_off=st.sampled_from(forgery.OFF),
    ack=st.sampled_from(forgery.ACKS),
    ack_off=st.sampled_from(forgery.OFF),
    size=st.sampled_from(forgery.SIZES),
    window=st.sampled_from(forgery.WINDOWS),
    stamp=st.sampled_from(forgery.STAMPS),
    echo=st.sampled_from(forgery.ECHOES),
    blocks=st.sampled_from(forgery.BLOCKS),
    marked=st.booleans(),
)


class TwoPeers(RuleBasedStateMachine):
    """`Watch`, `User` and `World` check what must hold, after every step; `finish()` that nothing is left."""

    flips = 0.0

    def __init__(self) -> None:
        super().__init__()
        self.world: World | None = None

    @initialize(seed=st.integers(0, (1 << 32) - 1), a=configs, b=configs, path=paths)
    def begin(self, seed: int, a: Config, b: Config, path: Conditions) -> None:
        self.world = self._make(seed, {"a": a, "b": b}, path)
        for port in PORTS:
            self.world.listen("b", port)
            self.world.open("a", port, None)
        self._time_passes()

    def _make(self, seed: int, configs: dict[str, Config], path: Conditions) -> World:
        return World(seed, configs, path, self.flips)

    def _time_passes(self) -> None:
        """A little, after each call: for how long is up to the seed."""
        world = self._world
        world.advance(world.random.choice([0.0, 0.0, 0.001, 0.02, 0.05, 0.3]))

    def _user(self, number: int) -> User | None:
        live = self._world.live
        return live[number % len(live)] if live else None

    @property
    def _world(self) -> World:
        if self.world is None:
            raise RuntimeError("no world: begin() comes first")
        return self.world

    # ------------------------------------------------------------------ opening

    @rule(name=hosts, remote_port=st.sampled_from(PORTS), local_port=st.sampled_from(LOCAL_PORTS))
    def open(self, name: str, remote_port: int, local_port: int | None) -> None:
        self._world.open(name, remote_port, local_port)
        self._time_passes()

    @rule(delay=st.sampled_from([0.0, 0.005]))
    def open_from_both_sides(self, delay: float) -> None:
        self._world.open("a", 6001, 6000)
        self._world.advance(delay)
        self._world.open("b", 6000, 6001)
        self._time_passes()

    @rule(name=hosts, port=st.sampled_from(PORTS))
    def listen(self, name: str, port: int) -> None:
        self._world.listen(name, port)
        self._time_passes()

    @rule(name=hosts, port=st.sampled_from(PORTS))
    def stop_listening(self, name: str, port: int) -> None:
        self._world.stop_listening(name, port)
        self._time_passes()

    @rule(name=hosts)
    def accept(self, name: str) -> None:
        self._world.accept(name)
        self._time_passes()

    # ------------------------------------------------------------------ a user's calls

    @rule(number=which, size=st.sampled_from([0, 1, 100, 1460, 5000, 40_000]))
    def write(self, number: int, size: int) -> None:
        if user := self._user(number):
            user.write(size)
        self._time_passes()

    @rule(number=which)
    def half_close(self, number: int) -> None:
        if user := self._user(number):
            user.shutdown()
        self._time_passes()

    @rule(number=which)
    def close(self, number: int) -> None:
        if user := self._user(number):
            user.close()
        self._time_passes()

    @rule(number=which)
    def abort(self, number: int) -> None:
        if user := self._user(number):
            user.abort()
        self._time_passes()

    @rule(number=which)
    def pause(self, number: int) -> None:
        if user := self._user(number):
            user.paused = True
        self._time_passes()

    @rule(number=which)
    def resume(self, number: int) -> None:
        if user := self._user(number):
            user.paused = False
            user.take(-1)
        self._time_passes()

    @rule(number=which, limit=st.sampled_from([1, 500, 3000]))
    def read_some(self, number: int, limit: int) -> None:
        if user := self._user(number):
            user.take(limit)
        self._time_passes()

    # ------------------------------------------------------------------ the network, and time

    @rule(path=paths)
    def change_path(self, path: Conditions) -> None:
        self._world.conditions(path)

    @rule()
    def cut_path(self) -> None:
        self._world.conditions(Conditions(loss=1.0))

    @rule(seconds=st.sampled_from([0.0, 0.001, 0.02, 0.1, 0.5, 2.0, 70.0]))
    def advance(self, seconds: float) -> None:
        self._world.advance(seconds)

    def teardown(self) -> None:
        if self.world is not None and self.world.intact:
            self.world.finish()


class FlippedBits(TwoPeers):
    """The path flips bits, and no checksum drops what it makes of them: peers that are not honest."""

    flips = 0.2


class ForgedSegments(TwoPeers):
    """A third party forges segments, for either end or for both. In the end it stops, and both come to rest."""

    world: forgery.ForgedWorld | None

    def _make(self, seed: int, configs: dict[str, Config], path: Conditions) -> forgery.ForgedWorld:
        return forgery.ForgedWorld(seed, configs, path)

    @property
    def _forged(self) -> forgery.ForgedWorld:
        world = self._world
        if not isinstance(world, forgery.ForgedWorld):
            raise TypeError(f"{world!r} has no forger")
        return world

    @rule(victims=st.sampled_from(["a", "b", "ab"]), number=which, recipe=recipes)
    def forge(self, victims: str, number: int, recipe: forgery.Recipe) -> None:
        pairs = self._forged.pairs
        for name in victims if pairs else ():
            self._forged.forge(name, pairs[number % len(pairs)], recipe)
        self._time_passes()

    @rule(number=st.integers(0, 1 << 16))
    def replay(self, number: int) -> None:
        self._forged.replay(number)
        self._time_passes()

    def teardown(self) -> None:
        if self.world is not None and self.world.intact:
            self._forged.come_to_rest()
        super().teardown()
