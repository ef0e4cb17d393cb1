"""Datagrams: links that carry a stack's segments, many with one system call where the kernel can."""
