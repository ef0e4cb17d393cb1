"""Echo workers behind one UDP port, each in its own process, until Ctrl-C or SIGTERM. Use echo_client.py with them.

    python examples/workers.py [--host 127.0.0.1] [--port 9000] [--workers 2]

The kernel selects one of the sockets by the UDP addresses and ports of a datagram, so that all connections of a
client's socket reach the same worker. The parent process keeps the sockets open. If a worker closed its own, the kernel
would renumber the others, and clients would reach workers without their connections. Thus only the connections of a
dead worker end: the worker that takes over its socket answers them with RST.
"""

import argparse
import asyncio
import signal
import socket
import sys
from contextlib import ExitStack
from multiprocessing import connection, parent_process
from multiprocessing.context import SpawnProcess

import utcp


def bind(stack: ExitStack, host: str, port: int, *, shared: bool) -> socket.socket:
    sock = stack.enter_context(socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)
    sock.bind((host, port))
    return sock


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()
        await writer.wait_closed()
    except OSError as error:
        print(f"{writer.get_extra_info('peername')}: {error}", flush=True)


async def serve(number: int, sock: socket.socket) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, stop.set)
    parent = parent_process()
    if parent is not None:
        loop.add_reader(parent.sentinel, stop.set)  # the parent may be killed without notice
    server = await utcp.start_server(echo, sock=sock)
    print(f"worker {number} serves", flush=True)
    await stop.wait()
    server.close()
    if parent is not None:
        loop.remove_reader(parent.sentinel)
    server.close_clients()  # the end of the loop gives them 5 seconds (Config.close_timeout) to deliver


def work(number: int, sock: socket.socket) -> None:
    utcp.run(serve(number, sock))


def main(host: str, port: int, count: int) -> None:
    workers: dict[int, SpawnProcess] = {}
    with ExitStack() as stack:
        with ExitStack() as alone:  # without SO_REUSEPORT, so that it fails if workers are started twice
            host, port, *_ = bind(alone, host, port, shared=False).getsockname()
        sockets = [bind(stack, host, port, shared=True) for _ in range(count)]
        print(f"listening on {host} port {port}", flush=True)
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C
        try:
            while True:
                for number, sock in enumerate(sockets):
                    if number not in workers or not workers[number].is_alive():
                        workers[number] = SpawnProcess(target=work, args=(number, sock))
                        workers[number].start()
                connection.wait([worker.sentinel for worker in workers.values()])
        except KeyboardInterrupt:
            for signum in (signal.SIGINT, signal.SIGTERM):
                signal.signal(signum, signal.SIG_IGN)
            for worker in workers.values():
                worker.terminate()
            for worker in workers.values():
                worker.join()
            print("stopped")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Echo workers behind one UDP port.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    if arguments.workers < 1:
        parser.error(f"argument --workers: must be 1 or more, not {arguments.workers}")
    try:
        main(arguments.host, arguments.port, arguments.workers)
    except (OSError, OverflowError, TypeError) as error:  # the last two: such a port, or such a host, cannot exist
        sys.exit(f"workers: {error}")
