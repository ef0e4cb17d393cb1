"""Kernel TCP carried over utcp: the parts of `utcp tunnel`.

An end accepts connections on one side and opens one for each on the other: `forward.Listen` (kernel TCP in, utcp out),
`forward.Serve` (utcp in, kernel TCP out), and `reverse.Reverse` and `reverse.Expose` for a service that cannot be
reached from outside. All connections of an end share one UDP socket for each address family. Half-closes, resets and
back-pressure are carried both ways.

    end = Listen(("127.0.0.1", 8080), ("tunnel.example.org", 9000), Options())
    await end.start()
    ...
    await end.stop(grace=10)
"""
