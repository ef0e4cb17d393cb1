"""Adapters: other people's libraries over utcp, each module named for its library."""
