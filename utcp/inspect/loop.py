"""Inspection of the endpoints of one event loop, by control sockets and environment variables."""

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
    """Open a control socket of the running loop, or return the one that is already open at `path`.

    Args:
        path: the path of the socket; True: one in the default directory.
        for_all: whether it shows all present and future endpoints of the loop, until `close()` or the loop's end.
            Otherwise it shows the endpoints that have named it, until the last of them is closed.

    Raises AddressInUse if another process listens at `path`, other OSErrors if the socket cannot be opened, and
    RuntimeError in a simulated network, which has no files.
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
        """Open control sockets, by the requested path."""
        self.leaving: dict[Control, None] = {}
        """Closed control sockets whose clients have not read everything yet."""

    @classmethod
    def of(cls, endpoints: LoopEndpoints) -> LoopInspection:
        """Return the instance that watches `endpoints`."""
        return next(watcher for watcher in endpoints.watchers if isinstance(watcher, cls))

    def open_control(self, path: str | PathLike[str] | bool, *, for_all: bool) -> Control:
        """Open a control socket, as `open_control()` of this module."""
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
        """Show the endpoint at the control socket `control`, and at those for all endpoints."""
        own = self.open_control(control, for_all=False) if control else None
        if not self._endpoints.simulated:
            self._environment.opened(endpoint, self.open_control)
        for each in self.controls.values():
            if each.for_all:
                each.begin(endpoint)
        if own is not None:
            own.begin(endpoint)

    def closed(self, endpoint: OpenEndpoint) -> None:
        """Stop showing the endpoint."""
        for control in list(self.controls.values()):
            attempt(self._loop, _NOT_CLOSED, control.end, endpoint)
        attempt(self._loop, _NOT_CLOSED, self._environment.closed, endpoint)

    async def aclose(self) -> None:
        """Close the control sockets, and let their clients read the rest."""
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
