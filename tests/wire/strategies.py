"""Arbitrary segments, as hypothesis draws them."""

from hypothesis import strategies as st

from utcp.wire import Segment

u8 = st.integers(0, 0xFF)
u16 = st.integers(0, 0xFFFF)
u32 = st.integers(0, 0xFFFFFFFF)


@st.composite
def segments(draw: st.DrawFn) -> Segment:
    """A segment whose options fit: both timestamps or neither, SACK blocks as many as the rest leaves room for."""
    mss = draw(st.none() | u16)
    window_scale = draw(st.none() | u8)
    sack_permitted = draw(st.booleans())
    timestamps = draw(st.none() | st.tuples(u32, u32))
    used = (
        (0 if mss is None else 4)
        + (0 if window_scale is None else 4)
        + (12 if timestamps is not None else 4 if sack_permitted else 0)
    )
    blocks = draw(st.lists(st.tuples(u32, u32), max_size=(40 - used - 4) // 8))
    return Segment(
        draw(u16),
        draw(u16),
        draw(u32),
        draw(u32),
        draw(u8),
        draw(u16),
        draw(st.binary(max_size=64)),
        ts_val=timestamps[0] if timestamps else None,
        ts_ecr=timestamps[1] if timestamps else None,
        mss=mss,
        window_scale=window_scale,
        sack_permitted=sack_permitted,
        sack_blocks=tuple(blocks),
        urgent=draw(u16),
        checksum=draw(u16),
    )
