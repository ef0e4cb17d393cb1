"""What watches the endpoints of a loop: it is told of each, and of the loop's end."""

import asyncio
from pathlib import Path

import pytest

import utcp
from utcp.aio import registry
from utcp.aio.open_endpoint import OpenEndpoint
from utcp.aio.registry import ControlPath, LoopEndpoints


class Noting:
    """A watcher that notes its calls, and refuses the control socket "refused"."""

    calls: list[str]

    def __init__(self, endpoints: LoopEndpoints) -> None:
        self.endpoints = endpoints

    def opened(self, endpoint: OpenEndpoint, control: ControlPath) -> None:
        self.calls.append(f"opened {control} among {len(list(self.endpoints))}")
        if control == "refused":
            raise FileNotFoundError(control)

    def closed(self, endpoint: OpenEndpoint) -> None:
        self.calls.append("closed")

    async def aclose(self) -> None:
        self.calls.append("the end")

    def close_now(self) -> None:
        self.calls.append("at once")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a watcher notes that is the only one."""
    noted: list[str] = []
    monkeypatch.setattr(Noting, "calls", noted, raising=False)
    monkeypatch.setattr(registry, "_watchers", [Noting])
    return noted


def test_a_watcher_is_told_of_each_endpoint_and_of_the_end(calls: list[str]) -> None:
    async def main() -> None:
        async with utcp.Endpoint(("127.0.0.1", 0), control=Path("x")):
            pass
        await utcp.Endpoint(("127.0.0.1", 0)).start()

    asyncio.run(main())
    assert calls == ["opened x among 0", "closed", "opened None among 0", "closed", "the end"]


def test_a_watcher_that_raises_closes_the_endpoint(calls: list[str]) -> None:
    async def main() -> None:
        endpoint = utcp.Endpoint(("127.0.0.1", 0), control="refused")
        with pytest.raises(FileNotFoundError):
            await endpoint.start()
        assert not endpoint.started

    asyncio.run(main())
    assert calls == ["opened refused among 0", "closed", "the end"]


def test_a_watcher_of_a_loop_that_cannot_run_is_closed_at_once(calls: list[str]) -> None:
    loop = asyncio.new_event_loop()
    loop.run_until_complete(utcp.Endpoint(("127.0.0.1", 0)).start())

    async def close_it() -> None:
        loop.close()

    asyncio.run(close_it())
    assert calls[:3] == ["opened None among 0", "closed", "at once"]
