"""SSH over utcp, by asyncssh's hook for tunnels: a server that runs one command, and a client that calls it.

Requires pip install 'aioutcp[integrations]'

    python examples/asyncssh_exec.py

`tunnel=UtcpTunnel()` is the only difference from SSH over kernel TCP. The host key is temporary.
"""

import utcp
from utcp.integrations.asyncssh import UtcpTunnel

import asyncssh


class Server(asyncssh.SSHServer):
    def begin_auth(self, username: str) -> bool:
        return False  # no authentication, because this server listens only briefly, on 127.0.0.1


async def shout(process: asyncssh.SSHServerProcess[str]) -> None:
    process.stdout.write((await process.stdin.read()).upper())
    process.exit(0)


async def main() -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    tunnel = UtcpTunnel()
    acceptor = await asyncssh.listen(
        "127.0.0.1", 0, tunnel=tunnel, server_factory=Server, server_host_keys=[key], process_factory=shout
    )
    async with acceptor:
        connecting = asyncssh.connect(
            "127.0.0.1",
            acceptor.get_port(),
            tunnel=tunnel,
            username="guest",
            client_keys=None,
            config=None,
            known_hosts=([key.convert_to_public()], [], []),
        )
        async with connecting as connection:
            done = await connection.run("shout", input="hello over ssh over utcp\n", check=True)
            print(f"the server says: {done.stdout!s}", end="")
            info = connection.get_extra_info("utcp")
            print(f"utcp, {info.state}: {info.bytes_sent} bytes sent, {info.bytes_received} received")


if __name__ == "__main__":
    utcp.run(main())
