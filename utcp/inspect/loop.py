"""What looks at the endpoints of one event loop: its control sockets, and what the environment asks for."""

from __future__ import annotations

import asyncio
from functools import partial
from os import PathLike
from typing import Final

from utcp.aio.containment import attempt, report
from utcp.aio.open_endpoint import OpenEndpoint
from utcp.aio.registry import ControlPath, LoopEndpoints
from utcp.inspect.control import Control
from utcp.inspect.control_path import asked_path, listen
from utcp.inspect.environment import Environment
from utcp.link.platform import Platform

_NO_FILES: Final = "a simulated host has no control socket: capture its network with NetworkCapture"

_NOT_CLOSED: Final = "a control socket or a capture could not be closed in good order"


def open_control(path: str | PathLike[str] | bool = True, *, for_all: bool = True) -> Control:
    """Open the control socket of the running loop at `path`, True for the default directory; if it is open, that one.

    It is for all endpoints of the loop, present and to come, until `close()` or the loop's end; with `for_all=False`
    for those that join, until the last of them is closed. Raises AddressInUse when another process listens at `path`,
    other OSErrors when it cannot be opened, and RuntimeError in a simulated network, which has no files.
    """
    endpoints = LoopEndpoints.of(Platform.of(asyncio.get_running_loop()))
    return LoopInspection.of(endpoints).open_control(path, for_all=for_all)


class LoopInspection:
    """Watches the endpoints of one loop (`utcp.aio.registry.Watcher`)."""

    def __init__(self, endpoints: LoopEndpoints) -> None:
        self._endpoints = endpoints
        self._loop = asyncio.get_running_loop()
        self._environment = Environment()
        self.controls: dict[str, Control] = {}
        """The open control sockets, by the path that was asked for."""
        self.leaving: dict[Control, None] = {}
        """The closed control sockets whose clients have not read everything yet."""

    @classmethod
    def of(cls, endpoints: LoopEndpoints) -> LoopInspection:
        """Return the one that watches `endpoints`."""
        return next(watcher for watcher in endpoints.watchers if isinstance(watcher, cls))

    def open_control(self, path: str | PathLike[str] | bool, *, for_all: bool) -> Control:
        """See `open_control()` of this module."""
        if self._endpoints.simulated:
            raise RuntimeError(_NO_FILES)
        asked = asked_path(path)
        control = self.controls.get(asked)
        if control is None:
            sock, file = listen(asked)
            closed = partial(self._control_closed, asked)
            try:
                control = Control(self._loop, sock, file, closed=closed, left=self._control_left)
            except BaseException:
                sock.close()
                file.unlink()
                raise
            self.controls[asked] = control
        if for_all and not control.for_all:
            control.open_for_all(self._endpoints)
        return control

    def opened(self, endpoint: OpenEndpoint, control: ControlPath) -> None:
        """Show the endpoint at the control socket `control`, and wherever all endpoints are shown."""
        own = self.open_control(control, for_all=False) if control else None
        if not self._endpoints.simulated:
            self._environment.opened(endpoint, self.open_control)
        for each in self.controls.values():
            if each.for_all:
                each.begin(endpoint)
        if own is not None:
            own.begin(endpoint)

    def closed(self, endpoint: OpenEndpoint) -> None:
        """Show the endpoint no longer."""
        for control in list(self.controls.values()):
            attempt(self._loop, _NOT_CLOSED, control.end, endpoint)
        attempt(self._loop, _NOT_CLOSED, self._environment.closed, endpoint)

    async def aclose(self) -> None:
        """Close the control sockets, and let their clients read what is left."""
        ends = [control.aclose() for control in (*self.controls.values(), *self.leaving)]
        for result in await asyncio.gather(*ends, return_exceptions=True):
            if result is not None:
                report(self._loop, _NOT_CLOSED, result)

    def close_now(self) -> None:
        """Close the control sockets at once."""
        for control in (*self.controls.values(), *self.leaving):
            attempt(self._loop, _NOT_CLOSED, control.close_now)

    def _control_closed(self, asked: str, control: Control) -> None:
        del self.controls[asked]
        self.leaving[control] = None

    def _control_left(self, control: Control) -> None:
        self.leaving.pop(control, None)
