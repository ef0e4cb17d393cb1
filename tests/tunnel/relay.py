"""A lossy path for UDP, as a process: python -m tests.tunnel.relay PORT LOSS SEED

Passes datagrams on between whoever comes to its own port, which it prints, and PORT of 127.0.0.1. A share LOSS of them
is dropped, both ways, at random. On SIGTERM it prints how many it has passed on and dropped.
"""

import random
import select
import signal
import socket
import sys
from typing import Never

BATCH = 256
"""Datagrams that are passed on one way before it looks the other way."""


class Relay:
    def __init__(self, port: int, loss: float, seed: int) -> None:
        self.passed = self.dropped = 0
        self._port = port
        self._loss = loss
        self._random = random.Random(seed)
        self._front = self._bound()
        self._backs: dict[tuple[str, int], socket.socket] = {}
        self._poll = select.epoll()
        self._poll.register(self._front.fileno(), select.EPOLLIN)
        self._by_descriptor: dict[int, tuple[socket.socket, tuple[str, int]]] = {}

    @staticmethod
    def _bound() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        return sock

    @property
    def address(self) -> tuple[str, int]:
        address: tuple[str, int] = self._front.getsockname()
        return address

    def run(self) -> Never:
        while True:
            for descriptor, _ in self._poll.poll():
                if descriptor == self._front.fileno():
                    self._forth()
                else:
                    self._back(*self._by_descriptor[descriptor])

    def _forth(self) -> None:
        for _ in range(BATCH):
            try:
                data, client = self._front.recvfrom(65536)
            except BlockingIOError:
                return
            back = self._backs.get(client)
            if back is None:
                back = self._backs[client] = self._bound()
                back.connect(("127.0.0.1", self._port))
                self._by_descriptor[back.fileno()] = back, client
                self._poll.register(back.fileno(), select.EPOLLIN)
            if self._lucky():
                try:
                    back.send(data)
                except (ConnectionRefusedError, BlockingIOError):  # nobody is there now, or no room: a path loses it
                    self.dropped += 1

    def _back(self, back: socket.socket, client: tuple[str, int]) -> None:
        for _ in range(BATCH):
            try:
                data = back.recv(65536)
            except (ConnectionRefusedError, BlockingIOError):
                return
            if self._lucky():
                try:
                    self._front.sendto(data, client)
                except (ConnectionRefusedError, BlockingIOError):
                    self.dropped += 1

    def _lucky(self) -> bool:
        if self._random.random() < self._loss:
            self.dropped += 1
            return False
        self.passed += 1
        return True


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(port: int, loss: float, seed: int) -> None:
    relay = Relay(port, loss, seed)

    def report(*_: object) -> Never:
        say(f"{relay.passed} {relay.dropped}")
        sys.exit(0)

    signal.signal(signal.SIGTERM, report)
    say(str(relay.address[1]))
    relay.run()


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
