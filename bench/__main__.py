"""`python -m bench NAME` measures one thing, `python -m bench all` everything that bench/registry.py names."""

from bench import command

command.main()
