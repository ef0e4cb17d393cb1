"""What looks at endpoints from outside: the control socket (`control`), its sessions, tables and recordings, and what
the environment asks for (`environment`). Nothing that it looks at imports it."""
