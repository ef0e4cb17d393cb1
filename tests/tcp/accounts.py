"""What a stack should say that its connections take, reckoned anew from what they hold."""

from utcp.tcp import reassembly, receive_queue, send
from utcp.tcp.accounts import CONNECTION, HALF_OPEN, IDLE
from utcp.tcp.allowance import MINIMUM
from utcp.tcp.connection import Connection
from utcp.tcp.connection.tcb import Tcb
from utcp.tcp.memory import RUN
from utcp.tcp.stack import Stack


def charge(connection: Connection) -> int:
    """What `connection` is to be charged, octets."""
    if connection.unverified:
        return HALF_OPEN
    queue = [piece for piece in connection.send_side._chunks if piece]
    kept = sum(len(piece) for piece in queue) + len(queue) * send.PIECE
    kept += received(connection)
    held = connection.receive_side.out_of_order
    kept += sum(len(piece) for piece in held._pieces.values())
    kept += len(held._pieces) * reassembly.PIECE + len(held) * reassembly.RUN
    kept += len(connection.recovery.board.runs()) * RUN
    return CONNECTION + max(MINIMUM, kept)


def received(connection: Tcb) -> int:
    """What the text takes that the user of `connection` can read, octets."""
    pieces = connection.receive_side._pieces
    return sum(len(piece) for piece in pieces) + len(pieces) * receive_queue.PIECE


def check(stack: Stack) -> None:
    """Raise AssertionError unless the accounts are right. To be called after a flush."""
    memory = stack.memory
    total = orphaned = 0
    for connection in stack.connections.values():
        right = charge(connection)
        assert connection.charge == right, f"{connection!r} is charged {connection.charge}, not {right}"
        total += right
        if connection.closed_by_user:
            assert connection in memory.orphans, f"{connection!r} is an orphan"
            orphaned += right
    for over in memory._unread:
        assert stack.connections.get(over.key) is not over, f"{over!r} is there"
        assert over.receive_side.readable, f"{over!r} is charged for nothing"
        assert not over.closed_by_user, f"the user of {over!r} cannot read"
        right = CONNECTION + received(over)
        assert over.charge == right, f"{over!r} is charged {over.charge}, not {right}"
        total += right
    assert memory.sum == total, f"all connections are charged {memory.sum}, not {total}"
    half_open = sum(connection.unverified for connection in stack.connections.values())
    assert memory.half_open == half_open, f"{half_open} are half-open, not {memory.half_open}"
    charged = [*stack.connections.values(), *memory._unread]
    assert memory._busy == sum(connection.charge > IDLE for connection in charged)
    assert memory.orphaned == orphaned, f"orphans are charged {memory.orphaned}, not {orphaned}"
    assert len(memory.orphans) == sum(connection.closed_by_user for connection in stack.connections.values())
