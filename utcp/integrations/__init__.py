"""Adapters that run other libraries over utcp. Each module is named after its library."""
