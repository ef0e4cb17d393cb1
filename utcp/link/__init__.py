"""Links, which carry a stack's segments in datagrams, many per system call if the kernel supports it."""
