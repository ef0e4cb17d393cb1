"""`python -m bench NAME` measures one thing, `python -m bench all` everything that bench/registry.py names."""

from . import command

command.main()
