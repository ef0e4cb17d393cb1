"""An echo server with metrics for Prometheus, until Ctrl-C or SIGTERM.

Requires pip install 'aioutcp[metrics]'

    python examples/metrics.py [--host 127.0.0.1] [--port 9000] [--metrics-port 9100]

Then connect with echo_client.py, and read the metrics: curl http://127.0.0.1:9100/metrics | grep ^utcp
"""

import argparse
import asyncio
import sys

import utcp
from utcp.trace.prometheus import UtcpCollector

import prometheus_client


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()
        await writer.wait_closed()
    except OSError:
        pass  # utcp_closes_total counts it by cause


async def main(host: str, port: int, metrics_port: int) -> None:
    server = await utcp.start_server(echo, host, port)
    prometheus_client.REGISTRY.register(UtcpCollector())  # all endpoints of this process
    http, thread = prometheus_client.start_http_server(metrics_port, addr=host)
    print(f"listening on {host} port {server.sockets[0].getsockname()[1]}")
    print(f"metrics at http://{f'[{host}]' if ':' in host else host}:{http.server_port}/metrics")
    try:
        await asyncio.Event().wait()  # until Ctrl-C or SIGTERM
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
        server.close()
        server.close_clients()
        await server.wait_closed()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="An echo server over utcp with metrics for Prometheus.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument("--metrics-port", type=int, default=9100)
    arguments = parser.parse_args()
    try:
        utcp.run(main(arguments.host, arguments.port, arguments.metrics_port))
    except (OSError, OverflowError, UnicodeError) as error:  # the last two: such a port, or such a host, cannot exist
        sys.exit(f"metrics: {error}")
    except KeyboardInterrupt:
        print("stopped")
