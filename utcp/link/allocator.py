"""The C library's memory allocator, for buffers that live for one batch of datagrams.

A batch holds up to two MiB of received data, which is freed together. glibc then returns the memory to the system,
because it keeps only 128 KiB free at the end of its heap, and the next batch gets new pages, which the kernel must
clear and map. Without this module, these are some 230 page faults for each MB received, and about half of the processor
time of a transfer over loopback.
"""

from functools import cache
from typing import Final

KEPT: Final = 8 << 20
"""Size of the freed block, octets. glibc afterwards keeps twice as much free memory, and takes smaller blocks from its
heap (mallopt(3), M_MMAP_THRESHOLD). The limit of what this can set is 32 MiB."""


@cache
def keep_freed_memory() -> None:
    """Make glibc keep freed memory for the next batch: it adapts to the largest block that a process has freed. Nothing
    changes if the process has set the limits itself (`MALLOC_TRIM_THRESHOLD_`), nor with another C library. Only the
    first call has an effect."""
    bytes(KEPT)
