"""examples/metrics.py as its user runs it: talked to by the echo client, scraped over HTTP."""

import re
import signal
import time
import urllib.request

import pytest

from tests.examples.test_examples import outcome, run, start

pytest.importorskip("prometheus_client", reason="prometheus-client is not installed")


def scrape(url: str) -> dict[str, str]:
    with urllib.request.urlopen(url, timeout=100) as answer:  # noqa: S310  # the address that we started
        return dict(re.findall(r"^(utcp_\S+) (\S+)$", answer.read().decode(), re.MULTILINE))


def test_what_the_example_serves() -> None:
    process = start("metrics.py", "--port", "0", "--metrics-port", "0")
    try:
        assert process.stdout is not None
        listening = re.fullmatch(r"listening on 127\.0\.0\.1 port (\d+)\n", process.stdout.readline())
        served = re.fullmatch(r"metrics at (http://127\.0\.0\.1:\d+/metrics)\n", process.stdout.readline())
        assert listening is not None
        assert served is not None
        for _ in range(2):
            run("echo_client.py", "--port", listening[1], "hello")
        for _ in range(100):
            metrics = scrape(served[1])
            if metrics['utcp_closes_total{cause="delivered"}'] == "2.0":  # the ACK of its FIN has arrived
                break
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        status, out, err = outcome(process)
    finally:
        process.kill()
        process.communicate()
    assert (status, out, err) == (0, "stopped\n", "")
    assert metrics['utcp_opens_total{side="passive"}'] == "2.0"
    assert metrics['utcp_closes_total{cause="delivered"}'] == "2.0"
    assert metrics["utcp_received_bytes_total"] == metrics["utcp_sent_bytes_total"] == "12.0"
    assert metrics["utcp_listeners"] == "1.0"


@pytest.mark.parametrize("arguments", [("--port", "65536"), ("--port", "0", "--metrics-port", "65536")])
def test_a_port_that_cannot_exist(arguments: tuple[str, ...]) -> None:
    status, _, err = outcome(start("metrics.py", *arguments))
    assert status == 1
    assert err.startswith("metrics: ")
    assert err.count("\n") == 1
