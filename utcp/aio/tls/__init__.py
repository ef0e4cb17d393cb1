"""TLS above a connection: for `ssl=`, for `start_tls()`, and for tunnels."""
