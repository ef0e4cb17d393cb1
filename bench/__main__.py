"""`python -m bench NAME` runs one bench, `python -m bench all` all benches of bench/registry.py."""

from . import command

command.main()
