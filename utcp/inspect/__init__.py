"""Inspection of endpoints: the control socket (`control`), its sessions, tables and recordings, and the environment
variables (`loop`). The inspected packages do not import it."""
