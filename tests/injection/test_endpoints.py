"""Whatever an endpoint calls raises: the link, observers, congestion controllers, the callbacks of users of each kind.
In virtual time, on a path that loses packets, so that nothing comes to its end without timers."""

import pytest

from tests.injection.endpoints import Run
from tests.injection.faults import Fault, Faults, plan
from utcp import Endpoint
from utcp.testing import Network
from utcp.testing.host import Process

pytestmark = [pytest.mark.defect(91), pytest.mark.usefixtures("contained")]

SPARED = ("observer.", "link.", "loop.")
"""What fails here costs no connection; the MTU of a link is asked for a connection, and its failure may cost that."""


STRIDE = 4
"""Every so many of the faults are tried here; `python -m tests.injection` tries all."""


def run(fault: Fault | None) -> Run:
    played = Run(Faults(fault))
    played.play()
    try:
        played.check(spared=fault is not None and fault.site.startswith(SPARED) and fault.site != "link.mtu")
    except AssertionError as error:
        raise AssertionError(f"{fault}: {error}") from error
    return played


def test_whatever_an_endpoint_calls_may_raise() -> None:
    counts = run(None).faults.counts
    assert {site.rpartition(".")[0] for site in counts if not site.startswith("loop.")} == {
        "link",
        "observer",
        "controller",
        *(f"{side}.{kind}" for side in ("server", "client") for kind in ("protocol", "buffered", "tls")),
        "server.streams",
    }
    assert {site for site in counts if site.startswith("loop.")} >= {
        "loop.call_soon driver.schedule_flush",
        "loop.call_soon driver._dispatch",
        "loop.call_soon driver._on_timer",
        "loop.call_later driver._arm",
    }
    for fault in list(plan(counts))[::STRIDE]:
        assert run(fault).faults.error is not None, fault


def test_an_exception_in_a_tls_handshake_is_reported() -> None:
    """The protocol above TLS does not exist for the handshake's end, and nobody waits for a server's handshake."""
    for ordinal in range(15):
        run(Fault("controller.on_unlimited_ack", ordinal, lambda: ValueError("injected")))


def test_an_endpoint_that_gets_no_secret_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network(1)
    host = network.host("host")

    def fail(_: object) -> bytes:
        raise OSError("no random numbers")

    async def scenario() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Process, "secret", fail)
            with pytest.raises(OSError, match="no random numbers"):
                await host.run(Endpoint((host.address, 7)).start())
        await (await host.run(Endpoint((host.address, 7)).start())).aclose()  # its port is free

    network.run(scenario())
