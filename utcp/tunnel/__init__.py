"""Kernel TCP carried over utcp: what `utcp tunnel` is made of.

An end takes connections in on one side and opens one for each on the other: `Listen` (kernel TCP in, utcp out), `Serve`
(utcp in, kernel TCP out), and for a service that cannot be reached `Reverse` and `Expose`. All connections of an end
share one UDP socket for each address family. Half-closes, resets and back-pressure are carried both ways.

    end = Listen(("127.0.0.1", 8080), ("tunnel.example.org", 9000), Options())
    await end.start()
    ...
    await end.stop(grace=10)
"""
