"""The base class of transports, which is asyncio's and not compiled (utcp/aio/flow_control.py)."""

import asyncio
from asyncio import transports

from utcp.aio.flow_control import FlowControl
from utcp.aio.transport_base import BaseTransport
from utcp.tcp import COMPILED


def test_each_slot_of_asyncios_classes_is_an_attribute_of_ours() -> None:
    """A compiled object has its own attributes in the place of the slots, so that using a slot would destroy them."""
    slots = {slot for base in FlowControl.__mro__ for slot in vars(base).get("__slots__", ())} - {"__weakref__"}
    assert "_high_water" in slots
    assert slots <= (vars(BaseTransport).keys() if COMPILED else BaseTransport.__annotations__.keys())


def test_transports_are_instances_of_asyncios_classes() -> None:
    assert issubclass(BaseTransport, asyncio.Transport)
    assert issubclass(BaseTransport, transports._FlowControlMixin)
