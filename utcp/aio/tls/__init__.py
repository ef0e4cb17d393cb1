"""TLS above a connection, for `ssl=`, `start_tls()` and tunnels."""
