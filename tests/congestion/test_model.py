"""How controllers do on a path: the response function (RFC 9438 5), fairness, slow start into a queue."""

from math import sqrt

import pytest

from tests.congestion.model import MSS, Bottleneck, Flow, average_window, jain
from utcp.tcp.congestion import CONTROLLERS


def reno(p: float) -> float:
    """Figure 3 with AIMD(1, 0.5)."""
    return sqrt(1.5 / p)


def cubic(p: float, rtt: float) -> float:
    """Figure 6, or Reno's where that is more."""
    return float(max(reno(p), (0.4 * 3.7 / 1.2) ** 0.25 * (rtt / p) ** 0.75))


@pytest.mark.parametrize("p", [1e-3, 1e-4, 1e-5])
def test_response_function_of_newreno(p: float) -> None:
    assert average_window(CONTROLLERS["newreno"](MSS, 0), p, 0.1, 40) == pytest.approx(reno(p), rel=0.1)


@pytest.mark.parametrize(
    ("p", "rtt"),
    [(1e-2, 0.1), (1e-3, 0.1), (3e-5, 0.1), (1e-5, 0.1), (1e-2, 0.01), (1e-3, 0.01), (1e-4, 0.01)],
)
def test_response_function_of_cubic(p: float, rtt: float) -> None:
    """Tables 1 and 2: like Reno on short paths and with many losses, more on long fast ones."""
    assert average_window(CONTROLLERS["cubic"](MSS, 0), p, rtt, 40) == pytest.approx(cubic(p, rtt), rel=0.1)


@pytest.mark.parametrize("name", ["newreno", "cubic"])
@pytest.mark.parametrize("depth", [10, 40, 80])
@pytest.mark.rfc9293("MAY-18")
@pytest.mark.rfc("9438", "5.3-1")
def test_two_flows_become_equal(name: str, depth: int) -> None:
    """The second comes when the first has all: a segment a millisecond, 40 ms, queues of a quarter, one and two of what
    the path holds. They are compared once each has had time to learn of the other."""
    flows = [Flow(CONTROLLERS[name](MSS, 0)), Flow(CONTROLLERS[name](MSS, 0), start=3.0)]
    path = Bottleneck(flows, rate=1000, rtt=0.04, depth=depth)
    path.run(16.0)
    before = [flow.delivered for flow in flows]
    path.run(40.0)
    shares = [flow.delivered - start for flow, start in zip(flows, before, strict=True)]
    assert jain(shares) >= 0.9
    assert sum(shares) >= 0.85 * 24 * 1000 * MSS


@pytest.mark.parametrize("name", ["newreno", "cubic"])
@pytest.mark.parametrize(("rtt", "depth"), [(0.001, 8), (0.01, 8), (0.1, 250)])
def test_one_flow_fills_the_path(name: str, rtt: float, depth: int) -> None:
    flow = Flow(CONTROLLERS[name](MSS, 0))
    Bottleneck([flow], rate=1250, rtt=rtt, depth=depth).run(8.0)
    assert flow.delivered >= 0.9 * 8.0 * 1250 * MSS


def test_slow_start_ends_before_a_deep_queue_is_full() -> None:
    """HyStart++: 50 ms, 500 segments on the path, a queue eight times as deep. Five rounds of a quarter's growth fit;
    slow start alone would go beyond."""
    flow = Flow(CONTROLLERS["cubic"](MSS, 0))
    path = Bottleneck([flow], rate=10_000, rtt=0.05, depth=4000)
    path.run(1.5)
    assert flow.lost == 0
    assert flow.controller.ssthresh < 4500 * MSS
    assert flow.delivered >= 0.75 * 1.5 * 10_000 * MSS
