"""What is open on the running loop."""

from tests.aio.peers import started, transports_of
from utcp import Transport


def open_transports() -> list[Transport]:
    """The transports of all endpoints, until their connection_lost()."""
    return [transport for endpoint in started() for transport in transports_of(endpoint)]
