"""Encoding and decoding of segments, with the RFC 9293 header, its options and sequence arithmetic. Pure functions."""

from utcp.wire.header import ACK, CWR, ECE, FIN, HEADER_LENGTH, PSH, RST, SYN, URG, flag_names
from utcp.wire.segment import MalformedSegment, Segment, decode, encode

__all__ = [
    "ACK",
    "CWR",
    "ECE",
    "FIN",
    "HEADER_LENGTH",
    "PSH",
    "RST",
    "SYN",
    "URG",
    "MalformedSegment",
    "Segment",
    "decode",
    "encode",
    "flag_names",
]
